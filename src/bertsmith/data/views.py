"""UniLM's rewrite: a draw for each example decides who sees whom.  n tokens, s sequences.

`full`: all see all.  `left_to_right`, `right_to_left`: a token sees itself and what stands before, behind it.  `prefix`: the source sees
all of the source; a token of the target sees the source, itself and the target before it.  The source is [CLS] A [SEP], the target
B [SEP], as in the released code; a sequence of one segment has no source, so that its prefix view is left to right.
"""

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Stream, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace

FULL, LEFT_TO_RIGHT, RIGHT_TO_LEFT, PREFIX = range(4)
STEP = np.array([0, 1, -1, 1], np.int32)  # from one token's rank to the next one's
SEGMENT = np.array([0, 2, 3, 4], np.uint8)  # of the first segment; the second's is one more where there are two
SEGMENTS = 6


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """How often each view is drawn, as 2 : 1 : 1 : 2 or any numbers that are not negative."""

    full: float = 2.0
    left_to_right: float = 1.0
    right_to_left: float = 1.0
    prefix: float = 2.0

    def __post_init__(self):
        given = vars(self)
        require(
            all(value >= 0 for value in given.values()) and sum(given.values()) > 0,
            f"corruption.rewrite.views: {', '.join(f'{k} {v:g}' for k, v in given.items())}: none may be negative, one must be above 0",
        )

    @property
    def shares(self) -> dict[str, float]:
        """Of each view, in the order of their numbers; the sum is 1."""
        values = [getattr(self, each.name) for each in fields(self)]
        return {each.name: value / sum(values) for each, value in zip(fields(self), values, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Views(InPlace):
    """Tokens are hidden and asked in place whatever the view; pairs are asked where it is full.

    Segments name the view: 0 and 1 full, 2 left to right, 3 right to left, 4 and 5 the source and the target.
    """

    views: Proportions = field(default_factory=Proportions)
    # Where a model of two segments goes on, each row starts as that of the text which it marks: A, or all of a text, or B (released code).
    continues: ClassVar[tuple[int, ...]] = (0, 1, 0, 0, 0, 1)
    sides: ClassVar[tuple[int, int]] = (4, 5)  # segments of a source, and of its target

    @property
    def segments(self) -> int:
        """Rows that the model's segment table must have."""
        return SEGMENTS

    @property
    def writes(self) -> bool:
        """Whether it teaches to write behind a source."""
        return self.views.prefix > 0

    @property
    def visibility(self) -> str:
        """By the proportions, not by what a batch happens to hold: a resumed run cuts its batches elsewhere and must take the same kernels."""
        shares = self.views.shares
        return "full" if shares["full"] == 1 else "causal" if shares["left_to_right"] == 1 else "ranks"

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        return replace(batch, input=self._seen(batch.input, row, self.drawn(row, draw)))

    def drawn(self, row: Row, draw: Draw) -> Array:
        """(s,) the view of each sequence."""
        below = np.cumsum(list(self.views.shares.values()))
        return np.searchsorted(below[:-1] / below[-1], draw.sequences("view", row), "right")

    def paired(self, row: Row, draw: Draw) -> Array:
        asked = super().paired(row, draw)
        return asked[self.drawn(row, draw)[asked] == FULL]

    def _seen(self, stream: Stream, row: Row, views: Array) -> Stream:
        alone = np.maximum.reduceat(row.segments, row.offsets[:-1]) == 0
        view = np.repeat(views, row.lengths)
        target = (row.segments > 0) | np.repeat(alone, row.lengths)
        prefix = view == PREFIX
        rank = row.positions * STEP[view]
        rank[prefix & ~target] = 0
        second = np.where(view == FULL, row.segments, prefix & target)
        segments = SEGMENT[view] + second.astype(np.uint8)
        return replace(stream, segments=segments, query_rank=rank, key_rank=rank, visibility=self.visibility)
