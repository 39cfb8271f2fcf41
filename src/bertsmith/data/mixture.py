"""A mixture: several feeds as one.  Which of them a step reads is drawn from (seed, step) alone, so that a resumed run and every process read the same.

k feeds, in the order in which they are named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array
from bertsmith.data.draw import hashed, uniform
from bertsmith.data.feed import Feed
from bertsmith.spelling import amount


class Shares(Protocol):
    def at(self, step: int, sizes: Array) -> Array:
        """(k,) the probability that step `step` (from 1) reads each feed; `sizes` (k,): sequences of an epoch of each.

        Also what each weighs where a step reads all: 0 leaves a feed out.
        """

    def check(self, feeds: int) -> None:
        """InputError unless it is about so many feeds."""


@dataclass(frozen=True, kw_only=True)
class BySize:
    """In proportion to the number of sequences, `cap` at most, to the power of 1 / `temperature` (Raffel et al. 2020, section 3.5.2)."""

    cap: int | None = None
    temperature: float = 1.0  # 1: in proportion; the higher, the more alike

    def __post_init__(self):
        good = self.cap is None or (_is_number(self.cap) and self.cap > 0)
        require(good, f"mixture.cap: {self.cap!r} must be a number above 0, or null for none")
        good = _is_number(self.temperature) and 0.1 <= self.temperature < np.inf
        require(good, f"mixture.temperature: {self.temperature!r} must be a number from 0.1")

    def check(self, feeds: int) -> None: ...

    def at(self, step: int, sizes: Array) -> Array:
        return _normal(np.minimum(sizes, self.cap or np.inf) ** (1 / self.temperature))


@dataclass(frozen=True, kw_only=True)
class Equal:
    """Each as often as any other."""

    def check(self, feeds: int) -> None: ...

    def at(self, step: int, sizes: Array) -> Array:
        return _normal(np.ones(len(sizes)))


@dataclass(frozen=True, kw_only=True)
class Annealed:
    """In proportion to the number of sequences to a power that falls from epoch to epoch, by `fall` in all, so that small feeds count more and
    more: 1 - `fall` (e - 1) / (`epochs` - 1) in epoch e (Stickland & Murray 2019, section 3.3: 0.8)."""

    steps: int  # of an epoch
    epochs: int  # of the run; a single one has the power 1
    fall: float = 0.8

    def __post_init__(self):
        for name in ("steps", "epochs"):
            value = getattr(self, name)
            good = isinstance(value, int) and not isinstance(value, bool) and value > 0
            require(good, f"mixture.{name}: {value!r} must be a whole number above 0")
        require(
            _is_number(self.fall) and 0 <= self.fall <= 1, f"mixture.fall: {self.fall!r} must be a number from 0 to 1"
        )

    def check(self, feeds: int) -> None: ...

    def power(self, step: int) -> float:
        epoch = min((step - 1) // self.steps + 1, self.epochs)
        return 1.0 - self.fall * (epoch - 1) / max(self.epochs - 1, 1)

    def at(self, step: int, sizes: Array) -> Array:
        return _normal(sizes ** self.power(step))


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """In proportion to `weights`, in the order of the feeds."""

    weights: tuple[float, ...]

    def __post_init__(self):
        good = isinstance(self.weights, (tuple, list)) and all(_is_number(w) and 0 <= w < np.inf for w in self.weights)
        require(
            good and sum(self.weights) > 0,
            f"mixture.weights: {self.weights!r} must be numbers from 0, one of them above it",
        )

    def check(self, feeds: int) -> None:
        require(len(self.weights) == feeds, f"mixture.weights: {len(self.weights)} of them for {amount(feeds, 'feed')}")

    def at(self, step: int, sizes: Array) -> Array:
        return _normal(np.array(self.weights, np.float64))


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Stage i begins with the i-th feed and lasts `steps[i]` steps; the last one lasts to the end of the run.

    `earlier`: whether the feeds of the stages before are left behind ("leave"), or go on ("keep") in proportion to `among` (Sun et al. 2020,
    ERNIE 2.0, section 3.2: tasks are added one by one while the earlier ones go on).
    """

    steps: tuple[int, ...]
    earlier: Literal["leave", "keep"] = "leave"
    among: Any = Equal()

    def __post_init__(self):
        good = isinstance(self.steps, (tuple, list)) and bool(self.steps)
        require(
            good and all(isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in self.steps),
            f"mixture.steps: {self.steps!r} must be whole numbers above 0, one for each stage",
        )
        require(self.earlier in ("leave", "keep"), f"mixture.earlier: {self.earlier!r} is neither 'leave' nor 'keep'")
        require(
            hasattr(self.among, "at"),
            f"mixture.among: {self.among!r} says no shares; Equal(), BySize(), Weighted(…) do",
        )

    def check(self, feeds: int) -> None:
        require(
            len(self.steps) in (feeds, feeds - 1),
            f"mixture.steps: {len(self.steps)} of them for {amount(feeds, 'feed')}; the last one's may be left out",
        )
        self.among.check(feeds)

    def begins(self) -> list[int]:
        """How many steps stand before each stage; the last of a full list is the end of what was asked."""
        return [0, *np.cumsum(self.steps).tolist()]

    def at(self, step: int, sizes: Array) -> Array:
        stage = min(int(np.searchsorted(np.cumsum(self.steps), step - 1, "right")), len(sizes) - 1)
        number = np.arange(len(sizes))
        if self.earlier == "leave":
            return (number == stage).astype(np.float64)
        shares = self.among.at(step, sizes) * (number <= stage)
        return _normal(shares if shares.any() else (number == stage).astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Every feed is read equally often in the end; `order` says when (Sun et al. 2020, ERNIE 2.0, section 3.2).

    added: stage after stage one more begins, while those before it go on.  Of k feeds each has k + 1 parts of the run: one in every stage
    after its own, and what is left in its own.  With four that is the paper's table: 20, 10, 10, 10 thousand updates of the first, 30, 10, 10 of
    the second, 40, 10 of the third, 50 of the last.  turns: one after the other.  together: all from the start.
    `steps`: of the run, which sets it (`of`); until then the first stage lasts.
    """

    order: Literal["added", "turns", "together"] = "added"
    steps: int | None = None

    def __post_init__(self):
        known = ("added", "turns", "together")
        require(self.order in known, f"mixture.shares.order: {self.order!r} is not one of {', '.join(known)}")

    def check(self, feeds: int) -> None: ...

    def of(self, steps: int) -> "Curriculum":
        """In a run of so many steps."""
        return replace(self, steps=steps)

    def table(self, feeds: int) -> Array:
        """(stages, feeds) parts of the run that each feed has in each stage; all columns have the same sum."""
        if self.order == "together":
            return np.ones((1, feeds))
        if self.order == "turns":
            return np.eye(feeds)
        return np.tril(np.ones((feeds, feeds))) + np.diag(np.arange(feeds) + 1.0)

    def begins(self, feeds: int) -> list[int]:
        """How many steps stand before each stage, and before the end."""
        parts = np.cumsum(self.table(feeds).sum(1))
        return [0, *np.rint(parts / parts[-1] * (self.steps or 0)).astype(int).tolist()]

    def at(self, step: int, sizes: Array) -> Array:
        table = self.table(len(sizes))
        ends = self.begins(len(sizes))[1:]
        stage = int(np.searchsorted(ends, step - 1, "right")) if self.steps else 0
        return _normal(table[min(stage, len(table) - 1)])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _normal(weights: Array) -> Array:
    return weights / weights.sum()


def check_name(name: str) -> None:
    """InputError for what a feed cannot be called: its terms are `name.term`, its model `RUN:name`."""
    require(
        name.replace("-", "_").isidentifier(),
        f"{name!r} is not a name: letters, digits, _ and -, no digit first",
    )


def check_names(names: Iterable[str]) -> None:
    """InputError for two names that are one but for case, as which they are one file where case does not count."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        require(
            other == name, f"{other} and {name}: differ only in case, and would be one file on some systems; rename one"
        )


class Mixture:
    """`each`: a step reads one feed ("one", drawn by `shares`) or all that have a share ("all").  `paced`: the feeds whose tokens make an
    epoch, all unless given.  InputError for names and shares that do not fit."""

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        shares: Shares,
        *,
        seed: int,
        each: Literal["one", "all"] = "one",
        paced: tuple[str, ...] = (),
    ):
        self.feeds, self.shares, self.seed, self.each = dict(feeds), shares, seed, each
        self.paced = paced or tuple(self.feeds)
        for name in self.feeds:
            check_name(name)
        require(bool(self.feeds), "mixture: it has no feed")
        require(each in ("one", "all"), f"mixture.each: {each!r} is neither 'one' nor 'all'")
        shares.check(len(self.feeds))
        first = [feed.epoch(0) for feed in self.feeds.values()]
        self.sizes = np.array([epoch.of * len(epoch.order) for epoch in first], np.float64)

    def lasts(self, steps: int) -> None:
        """A run of so many steps will read it: what shares go by that know stages of a whole run."""
        if hasattr(self.shares, "of"):
            self.shares = self.shares.of(steps)

    def reads(self, step: int) -> tuple[str, ...]:
        """The feeds that step `step` (from 1) takes from."""
        share, names = self.shares.at(step, self.sizes), tuple(self.feeds)
        if self.each == "all":
            return tuple(name for name, p in zip(names, share.tolist(), strict=True) if p > 0)
        draw = float(uniform(hashed(self.seed, "mixture", step))[0])
        below = np.cumsum(share)
        return (names[int(np.searchsorted(below, draw * below[-1], "right"))],)
