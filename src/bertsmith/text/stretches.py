"""The corpus as one long text, a [SEP] behind each document, cut into full rows that are read in random order: GPT-2's layout.

What `Columns` is without its columns: no row goes on from another, so that their order is free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row, Vocab
from bertsmith.data.draw import shuffled
from bertsmith.text.columns import ColumnPlan
from bertsmith.text.layout import check_text
from bertsmith.text.long_text import LongText


@dataclass(frozen=True, kw_only=True, eq=False)
class StretchPlan(ColumnPlan):
    """One column, whose sequences come in any order and know nothing of each other."""

    @property
    def step(self) -> None:  # type: ignore[override]
        """As many sequences as fit the batch."""
        return None

    def shuffled(self, epoch: int) -> Array:
        """(s,) the permutation of an epoch."""
        return shuffled(self.seed, epoch, self.turns)

    def row(self, indices: Array) -> Row:
        return replace(super().row(indices), thread=None)


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Rows of `length` tokens, across documents, with [SEP] between these and no other special.

    A row begins with the last token of the one before, so that every token is asked for once by a model that reads from the left; the last
    row wraps around to the beginning, and what is read twice so is counted.
    """

    length: int
    both_ways: ClassVar[bool] = False
    from_end: ClassVar[bool] = False
    bare: ClassVar[bool] = True  # until a task is put to it, a model of such rows reads a text with nothing round it

    def __post_init__(self):
        require(self.length >= 2, f"layout.length: {self.length} is below 2, a token and the one that it asks for")

    def check(self, split: Any) -> None:
        check_text(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> StretchPlan:
        text = LongText.of(split)
        length = min(self.length, text.places)
        return StretchPlan(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            layout=self,
            text=text,
            columns=1,
            turns=max(1, -(-(text.places - 1) // (length - 1))),
            length=length,
            stride=length - 1,
        )

    def ranges(self, plan: StretchPlan, sequences: Array, begin: Array, backward: Array) -> list[tuple[Array, Array]]:
        """The stretch of text in each sequence: where (s,) it begins and ends."""
        return [(begin, begin + plan.length)]

    def laid(self, plan: StretchPlan, sequences: Array, begin: Array, backward: Array) -> tuple[Array, Array]:
        """Places of the text (s, T), and segments (s, T)."""
        places = begin[:, None] + np.arange(plan.length)
        return places, np.zeros(places.shape, np.uint8)
