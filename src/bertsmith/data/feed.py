"""Feeds: what a run reads.  A feed plans an epoch and makes the batch of any of its sequences from (seed, epoch, example) alone.

Text is one (data/text.py), a labelled file another (tasks/labelled.py); the loader composes, deals and reads ahead, and knows no kind.
s sequences of an epoch.  Nothing here loads torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from bertsmith.data.batch import Array, Batch

Pieces = list[tuple["Epoch", Array]]  # numbers of sequences, in this order
By = Literal["tokens", "sequences"]


class Feed(Protocol):
    def epoch(self, number: int) -> "Epoch":
        """One pass over all there is.  InputError where it cannot be read as asked."""

    def batches(self, rows: Sequence[Pieces]) -> list[Batch]:
        """A NumPy batch of each row, the same sequences whichever rows they are dealt to; an empty one of an empty row."""

    def counts(self, rows: Sequence[Pieces]) -> list[dict[str, int]]:
        """Predictions of each term in each row, without making its batch: rows of other processes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Epoch:
    """One pass: the sequences in the order in which steps take them, and how much a step takes of them."""

    order: Array  # (s,) numbers of the feed's sequences
    lengths: Array  # (s,) tokens of sequence number i
    room: int  # what a step takes at most: whole sequences
    by: By = "tokens"  # what `room` counts
    across: bool = True  # a step that reaches the end goes on into the next epoch
    plan: Any = None  # what the feed makes batches from
    of: int = 1  # how many such make a pass over all there is
    told: Callable[[Array], dict[str, int]] | None = (
        None  # {part: tokens} of sequences, where the text has parts with names
    )

    @cached_property
    def tokens(self) -> Array:
        """(s + 1,) of the order's first i sequences."""
        return np.concatenate([[0], np.cumsum(self.lengths[self.order])])

    @cached_property
    def ends(self) -> Array:
        """(s + 1,) the same as `room` counts it."""
        return self.tokens if self.by == "tokens" else np.arange(len(self.order) + 1)

    def fill(self, at: int, room: int) -> int:
        """One past the last sequence, in order from `at`, that still fits."""
        return int(np.searchsorted(self.ends, self.ends[at] + room, "right")) - 1

    @property
    def steps(self) -> int:
        """Steps that begin in this epoch, counted from its first sequence."""
        at = steps = 0
        while at < len(self.order):
            at = self.fill(at, self.room)
            steps += 1
        return steps
