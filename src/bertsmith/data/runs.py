"""Runs of neighbouring tokens or frames: what is hidden of sound, where one frame can be read off its neighbours."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw
from bertsmith.data.select import check_rate, columns, singly


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs of `length` from different places of a sequence, uniformly, which may overlap (Liu et al. 2020, Mockingjay; s3prl's code).

    There are round(rate n / length) of them in n places, at least one where the sequence is longer than a run; none begins at the last
    place that it could.  What overlaps or touches is one span, so that somewhat less than `rate` is hidden of long sequences.
    """

    meets: ClassVar[bool] = False  # its rate exactly
    rate: float = 0.15
    length: int = 7

    def __post_init__(self):
        check_rate(self.rate, None)
        require(self.length >= 1, f"corruption.select.length: {self.length} is below 1")

    def __call__(self, row: Row, draw: Draw) -> Array:
        places = np.maximum(row.lengths - self.length, 0)  # where a run may begin
        count = np.minimum(np.maximum(np.rint(self.rate * row.lengths / self.length).astype(np.int64), 1), places)
        units = (row.positions < np.repeat(places, row.lengths)) & ~row.special
        begin = singly(row, draw, units, count, places)[:, 0]
        if not len(begin):
            return columns(begin, begin)
        apart = np.flatnonzero(np.append(True, begin[1:] > begin[:-1] + self.length))
        last = np.append(apart[1:], len(begin)) - 1
        return columns(begin[apart], begin[last] + self.length)
