"""Frames that are hidden where they stand, by one die for each utterance (Liu et al. 2020, Mockingjay, section 3.1).  m asked frames."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, integers
from bertsmith.data.ranges import numbers
from bertsmith.data.rewrite import bits_at


@dataclass(frozen=True, kw_only=True)
class Blanked:
    """Of `blank` of the utterances the hidden frames become zeros, of `moved` frames from elsewhere in the utterance, a span each; in the
    rest they stay.  All are asked for where they stand.  In frames with mean 0 a zero is the mean."""

    masks: ClassVar[bool] = False  # there is no mask token
    blank: float = 0.8
    moved: float = 0.1

    def __post_init__(self):
        shares = (self.blank, self.moved, self.blank + self.moved)
        require(
            all(0 <= share <= 1 + 1e-9 for share in shares),
            f"corruption.rewrite: blank {self.blank} and moved {self.moved} must be shares whose sum is at most 1; the rest is kept",
        )

    def choice(self, row: Row, draw: Draw) -> Array:
        """(s,) 0: blank, 1: moved, 2: kept."""
        return np.searchsorted([self.blank, self.blank + self.moved], draw.sequences("rewrite", row), "right")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        choice = self.choice(row, draw)
        tokens = row.tokens.copy()
        tokens[at[choice[row.sequence[at]] == 0]] = 0
        moved = spans[choice[row.sequence[spans[:, 0]]] == 1]
        if len(moved):
            tokens[numbers(moved[:, 0], moved[:, 1])] = row.tokens[self._elsewhere(row, moved, draw)]
        targets = {"frames": Target(at=at[:, None], labels=row.tokens[at])}
        return Batch(input=Stream.plain(row, tokens), targets=targets, examples=Examples(row.epoch, row.example))

    def _elsewhere(self, row: Row, spans: Array, draw: Draw) -> Array:
        """Places in the same utterance for each frame of the spans; a span is taken from one other beginning, where there is one."""
        owner, width = row.sequence[spans[:, 0]], spans[:, 1] - spans[:, 0]
        begin = row.offsets[owner]
        own = spans[:, 0] - begin
        others = row.lengths[owner] - width  # beginnings but its own
        drawn = integers(bits_at(draw, "elsewhere", row, spans[:, 0]), np.maximum(others, 1))
        drawn += drawn >= own
        source = begin + np.where(others > 0, drawn, own)
        return numbers(source, source + width)

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        asked = int((spans[:, 1] - spans[:, 0]).sum())
        return {"frames": asked} if asked else {}
