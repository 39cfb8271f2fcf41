"""A rewrite for text with linked entities: some links are wrong, some are hidden, and of all it is asked which entity is meant.

n tokens, m linked mentions.  Streams say of the tokens that mentions begin with which entity is given: `features["entity"]`, from 1.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw, halves, scaled
from bertsmith.data.rewrite import InPlace, bits_at, share_of
from bertsmith.errors import InputError
from bertsmith.spelling import option

ENTITY = "entity"


@dataclass(frozen=True, kw_only=True)
class Linked(InPlace):
    """ERNIE's denoising entity auto-encoder (Zhang et al. 2019, section 3.4) beside BERT's rewrite: of the linked entities `wrong` become
    another one of the table, `hidden` are not given, the rest are; of all the token that the mention begins with is asked which one it is.

    A sequence with fewer than two different entities asks nothing of them: its own are all there is to choose from.
    """

    wrong: float = 0.05
    hidden: float = 0.15
    of_entities: ClassVar[tuple[str, ...]] = (ENTITY,)  # terms whose labels are entities

    def __post_init__(self):
        super().__post_init__()
        require(
            min(self.wrong, self.hidden) >= 0 and self.wrong + self.hidden <= 1,
            f"corruption.rewrite: wrong {self.wrong} and hidden {self.hidden} must be shares whose sum is at most 1; the rest is given",
        )

    def check(self, split: Any) -> None:
        """InputError where the store was prepared without links."""
        if getattr(split, "links", None) is None:
            raise InputError(
                f"corruption.rewrite: the store has no linked entities; prepare it with {option('links', like='FILE')} and {option('entity_vectors', like='FILE')}"
            )

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        at = np.flatnonzero(row.entities > 0)
        clean = row.entities[at].astype(np.int64)
        given = np.zeros(len(row.tokens), np.int32)
        given[at] = self._given(clean, bits_at(draw, "entity", row, at), vocab)
        asked = self._asked(row, at)
        targets = dict(batch.targets)
        if asked.any():
            targets[ENTITY] = Target(at=at[asked, None], labels=clean[asked] - 1)
        return replace(batch, input=replace(batch.input, features={ENTITY: given}), targets=targets)

    def _given(self, clean: Array, bits: Array, vocab: Vocab) -> Array:
        """(m,) from 1, 0 where none is."""
        choice, half = halves(bits)
        other = 1 + scaled(half, max(1, vocab.entities[0] - 1))
        other += other >= clean
        wrong = (choice < share_of(self.wrong)) & (other <= vocab.entities[0])
        hidden = ~wrong & (choice >= share_of(self.wrong)) & (choice < share_of(self.wrong + self.hidden))
        return np.where(wrong, other, np.where(hidden, 0, clean))

    def _asked(self, row: Row, at: Array) -> Array:
        """(m,) bool: mentions in sequences with another entity."""
        of, entity = np.searchsorted(row.offsets, at, "right") - 1, row.entities[at]
        first = np.full(len(row.lengths), -1, np.int64)
        first[of[::-1]] = entity[::-1]
        several = np.zeros(len(row.lengths), bool)
        several[of[entity != first[of]]] = True
        return several[of]

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        asked = int(self._asked(row, np.flatnonzero(row.entities > 0)).sum())
        return super().counts(row, spans, draw) | ({ENTITY: asked} if asked else {})
