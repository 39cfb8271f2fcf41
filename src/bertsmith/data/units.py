"""ERNIE's masking: units of a level of knowledge, each hidden by a draw of its own.  n tokens, s sequences, m units."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw
from bertsmith.data.levels import LEVELS, annotated, check_levels
from bertsmith.data.select import check_rate, columns


@dataclass(frozen=True, kw_only=True)
class Units:
    """Each unit with probability `rate`, whole or not at all, by the draw of its first token; no budget (released code).

    The share of a sequence that is hidden therefore varies around `rate` of its text, and specials take no part in it.
    `levels`: what a unit is in each stage of the curriculum: a "token", a "phrase" or an "entity" of the store's annotations; text outside
    of these goes word by word.  A stage lasts `passes` over the corpus (0.25: a quarter of one), the last for ever (the released code leaves it to a list of files
    whether units are tokens or longer).  Where `corruption.copies` repeats views, stages are repeated with them.  Held-out text is masked as
    in the first stage, so that its losses compare over a run.
    """

    levels: tuple[str, ...] = ("token", "phrase", "entity")
    passes: float = 1
    rate: float = 0.15

    def __post_init__(self):
        check_rate(self.rate, None)
        known = ("token", *LEVELS)
        require(
            bool(self.levels) and all(level in known for level in self.levels),
            f"corruption.select.levels: {list(self.levels)} must be one or more of {', '.join(known)}",
        )
        require(
            self.passes > 0,
            f"corruption.select.passes: {self.passes} must be above 0; passes over the corpus, or a share",
        )

    def check(self, split: Any) -> None:
        check_levels(split, [level for level in self.levels if level in LEVELS])

    def stages(self, row: Row) -> Array:
        """(s,) which of the `levels` each sequence is at."""
        whole = float(self.passes).is_integer()
        stages = row.epoch // int(self.passes) if whole else np.floor((row.epoch + row.into) / self.passes + 1e-9)
        return np.minimum(stages, len(self.levels) - 1).astype(np.int64)

    def begins(self) -> list[tuple[str, float]]:
        """Each stage, and after how many passes over the corpus it begins."""
        return [(level, stage * self.passes) for stage, level in enumerate(self.levels)]

    def within(self, passes: float) -> float:
        """Passes a stage with which so many passes hold all stages, equally long."""
        return float(f"{passes / len(self.levels):.2g}")

    def opening(self) -> "Units":
        return replace(self, levels=self.levels[:1])

    def __call__(self, row: Row, draw: Draw) -> Array:
        stages = self.stages(row)
        begins = np.zeros(len(row.tokens), bool)
        for stage in np.unique(stages).tolist():
            begins |= np.repeat(stages == stage, row.lengths) & unit_starts(row, self.levels[stage])
        begin = np.flatnonzero(begins)
        edge = np.append(np.flatnonzero(begins | row.special), len(row.tokens))
        end = edge[np.searchsorted(edge, begin) + 1]
        chosen = draw.tokens("select", row)[begin] < self.rate
        return columns(begin[chosen], end[chosen])


def unit_starts(row: Row, level: str) -> Array:
    """(n,) bool: a token, or a span of the level, or a word outside of these spans starts here."""
    if level == "token":
        return ~row.special
    begin, end = annotated(row.annotations, level)
    change = np.zeros(len(row.tokens) + 1, np.int8)
    change[begin] += 1
    change[end] -= 1
    starts = row.starts & (np.cumsum(change[:-1]) == 0)
    starts[begin] = True
    starts[end[end < len(starts)]] = True  # what a span left of a word
    return starts & ~row.special
