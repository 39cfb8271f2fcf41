"""What changes while a run goes on: the rate of masks, tokens of an update, the length of rows, and a first part that reads from the left.

Each is a function of (step, steps) alone, so that a resumed run, every process and every worker know it.  Steps count from 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bertsmith.config import require

FINE = 1000  # rates are rounded to one of so many shares: neighbouring updates are made together


@dataclass(frozen=True, kw_only=True)
class Ramps:
    """Times (`batch_until`, those of `lengths`, `causal`) are steps, or shares of all below 1.

    `mask_rate`: what `corruption.select.rate` has become at the end, on a line or half a cosine (Ankner et al. 2024; Yang et al. 2022).
    `batch`: the share of `training.batch` that updates begin with; `batch_sizes` sizes from there, for as many updates each, until all of it is read
    (ModernBERT's and GPT-BERT's).  `lengths`: (length, until) of shorter rows, `layout.length` behind them; an update has as many tokens (GPT-BERT:
    [[128, 0.7], [256, 0.9]]).  `causal`: how long every token is asked for by the ones before it, before masks are (Gisserot-Boukhlef et al. 2025).
    """

    mask_rate: float | None = None
    mask_shape: Literal["linear", "cosine"] = "linear"
    batch: float = 1.0
    batch_until: float = 0.1
    batch_sizes: int = 8
    lengths: tuple[Any, ...] = ()
    causal: float = 0.0

    def __post_init__(self):
        said = "schedule.ramps"
        require(
            self.mask_rate is None or 0 < self.mask_rate <= 1,
            f"{said}.mask_rate: {self.mask_rate} is not a share; above 0, at most 1, or null",
        )
        require(0 < self.batch <= 1, f"{said}.batch: {self.batch} is not a share of training.batch; above 0, at most 1")
        require(self.batch_until > 0, f"{said}.batch_until: {self.batch_until} must be above 0")
        require(self.batch_sizes > 0, f"{said}.batch_sizes: {self.batch_sizes} must be above 0")
        require(self.causal >= 0, f"{said}.causal: {self.causal} is negative; 0 = not at all")
        pairs = [tuple(pair) if isinstance(pair, (list, tuple)) else (pair,) for pair in self.lengths]
        fits = all(len(pair) == 2 and type(pair[0]) is int and type(pair[1]) in (int, float) for pair in pairs)
        require(fits, f"{said}.lengths: {pairs}: [length, until] of each is wanted, such as [[128, 0.7]]")
        for found in zip(*pairs, strict=True):
            rises = [*found] == sorted({*found}) and found[0] > 0
            require(rises, f"{said}.lengths: {', '.join(map(str, found))} must be above 0 and rise")
        object.__setattr__(self, "lengths", tuple(pairs))

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return self.mask_rate is not None or self.batch < 1 or bool(self.lengths) or self.causal > 0

    def rate(self, begin: float, step: int, steps: int) -> float:
        """Of the masks of an update, from `begin`."""
        if self.mask_rate is None:
            return begin
        over = min(1.0, (step - 1) / max(1, steps - 1))
        share = (1 - math.cos(math.pi * over)) / 2 if self.mask_shape == "cosine" else over
        return max(1, round(FINE * (begin + share * (self.mask_rate - begin)))) / FINE

    def size(self, step: int, steps: int) -> float:
        """The share of `training.batch` that an update reads."""
        until = _steps(self.batch_until, steps)
        if self.batch == 1 or step > until:
            return 1.0
        return self.batch + (1 - self.batch) * ((step - 1) * self.batch_sizes // until) / self.batch_sizes

    def length(self, step: int, steps: int) -> int | None:
        """Of rows; None: the layout's own."""
        return next((length for length, until in self.lengths if step <= _steps(until, steps)), None)

    def reads_left(self, step: int, steps: int) -> bool:
        return step <= _steps(self.causal, steps)

    def parts(self, steps: int) -> Iterator[tuple[int, float, int | None, bool]]:
        """(updates, their share of the batch, the length of their rows, whether they read from the left), as a run of `steps` has them one
        after the other."""
        until, at = _steps(self.batch_until, steps), 0
        ends = {_steps(until, steps) for _, until in self.lengths} | {_steps(self.causal, steps), steps}
        if self.batch < 1:
            ends |= {math.ceil(until * number / self.batch_sizes) for number in range(1, self.batch_sizes + 1)}
        for end in sorted(end for end in ends if 0 < end <= steps):
            yield end - at, self.size(end, steps), self.length(end, steps), self.reads_left(end, steps)
            at = end

    def whole(self, steps: int, left: float = 1.0) -> float:
        """As how many updates of all of the batch a run of so many steps counts; one that reads from the left as `left` of them."""
        return sum(count * size * (left if causal else 1.0) for count, size, _, causal in self.parts(steps))

    def within(self, updates: float, left: float = 1.0) -> int:
        """Steps that take as long as so many whole updates."""
        return fewest(updates, lambda steps: self.whole(steps, left))


def _steps(of: float, steps: int) -> int:
    return round(of * steps) if of < 1 else int(of)


def fewest(enough: float, total: Callable[[int], float]) -> int:
    """Of how many steps `total(steps)`, which rises, is nearest to `enough`; 1 at least."""
    most = 1
    while total(most) < enough:
        most *= 2
    after = bisect_left(range(1, most + 1), enough, key=total) + 1
    return after - 1 if after > 1 and enough - total(after - 1) < total(after) - enough else after
