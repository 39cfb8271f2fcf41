"""Masked next-token prediction: what is hidden is asked for at the place before it, as a language model is asked (GPT-BERT, Charpentier & Samuel 2024)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace


@dataclass(frozen=True, kw_only=True)
class Ahead(InPlace):
    """The token at p is hidden where it stands, and asked for at p - 1, which sees all of the text but it.  So one head serves this and a causal view."""

    before: ClassVar[int] = 1  # places between where a token is asked for and where it stands

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        token = batch.targets["token"]
        require(
            bool((row.positions[token.at] > 0).all()),
            "corruption.rewrite: Ahead: the first token of a text has none before it that could be asked; take a layout whose texts begin with [CLS]",
        )
        return replace(batch, targets={**batch.targets, "token": replace(token, at=token.at - self.before)})
