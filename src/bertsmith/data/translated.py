"""Rewrites of parallel lines: tokens of a text and of its translation are hidden in place, and asked from both (XLM), or the one is written
about the other (CoVe)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Vocab
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.denoise import seen
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace
from bertsmith.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Translated(InPlace):
    """`reset`: the second side counts its positions from 0 again, so that words stand about where their translations do (Lample & Conneau
    2019, figure 1); else they go on."""

    reset: bool = True

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        if not self.reset:
            return batch
        second = row.segments > 0
        first = np.bincount(row.sequence[~second], minlength=len(row.lengths)).astype(np.int32)
        positions = np.where(second, row.positions - np.repeat(first, row.lengths), row.positions)
        return replace(batch, input=replace(batch.input, positions=positions.astype(np.int32)))


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """An encoder reads the first side of a pair as it reads any text; a decoder, which begins with `start`, writes the second one and an end."""

    start: Literal["pad", "cls", "sep"] = "cls"
    masks: ClassVar[bool] = False

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        second = row.segments > 0
        written = np.bincount(row.sequence[second], minlength=len(row.lengths))
        if not written.all():
            raise InputError(
                "corruption.rewrite: a sequence has no second side to be written; parallel lines are wanted (layout Translations)"
            )
        asked = row.tokens[second]
        output, target = decoded(shifted(asked, written, getattr(vocab, self.start)), asked, written)
        return Batch(
            input=seen(row.tokens[~second], row.lengths - written),
            output=output,
            targets={"token": target},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        return {"token": int(np.count_nonzero(row.segments))}
