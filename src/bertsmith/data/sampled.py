"""A rewrite for two models: the first guesses what was hidden, and its guesses, sampled, stand in the input of the second (ELECTRA)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw, uniform
from bertsmith.data.rewrite import InPlace, bits_at


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Of the asked tokens `mask` become [MASK] for the generator, the rest stay; all of them are sampled anew for the second model.

    Batches hold the generator's input and, with each question, the draw that its answer is sampled with.  `term` is what the second
    model is asked, with the clean tokens as labels: of all tokens, specials too, or of the asked ones (`judged`).
    """

    mask: float = 0.85
    judged: Literal["all", "asked"] = "all"
    term: str = "replaced"
    random: ClassVar[float] = 0.0

    def __post_init__(self):
        require(0 <= self.mask <= 1, f"corruption.rewrite.mask: {self.mask} is not a share; between 0 and 1")

    @property
    def _hiding(self) -> InPlace:
        return InPlace(mask=self.mask, random=self.random)

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = self._hiding(row, spans, vocab, draw)
        token = batch.targets["token"]
        asked = token.at[:, 0]
        draws = uniform(bits_at(draw, "sample", row, asked))
        at = asked if self.judged == "asked" else np.arange(len(row.tokens))
        judged = Target(at=at[:, None], labels=row.tokens[at].astype(np.int64))
        return replace(batch, targets={**batch.targets, "token": replace(token, draws=draws), self.term: judged})

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        found = self._hiding.counts(row, spans, draw)
        return {**found, self.term: found["token"] if self.judged == "asked" else len(row.tokens)}
