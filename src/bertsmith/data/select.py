"""Select: which spans are hidden.  `select(row, draw)` -> (m, 2) int64 flat, half open, sorted, disjoint.

Budgets are exact, drawn without replacement, counted over all tokens of a sequence (specials too) and never spent on a special.
A sequence in which no unit fits the budget is asked one unit, unless that is the whole sequence.  n tokens, s sequences, u units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, hashed, integers, mix

Rounding = Literal["round", "ceil", "probabilistic"]


def budgets(row: Row, draw: Draw, rate: float, rounding: Rounding, most: int | None) -> Array:
    """(s,) tokens to hide.  "round": BERT, max(1, round(rate n)), half to even as Python rounds; "ceil": SpanBERT;
    "probabilistic": RoBERTa, floor(rate n + u) with u uniform in [0, 1), so that the mean is rate n."""
    wanted = rate * row.lengths
    if rounding == "round":
        count = np.maximum(np.rint(wanted), 1)
    elif rounding == "ceil":
        count = np.ceil(wanted)
    else:
        count = np.floor(wanted + draw.sequences("rounding", row))
    count = count.astype(np.int64)
    return count if most is None else np.minimum(count, most)


def check_rate(rate: float, most: int | None) -> None:
    require(0 < rate <= 1, f"corruption.select.rate: {rate} is not a share; above 0, at most 1")
    require(most is None or most >= 1, f"corruption.select.most: {most} must be at least 1, or null for no limit")


@dataclass(frozen=True, kw_only=True)
class _Budgeted:
    """`most`: BERT's max_predictions_per_seq."""

    rate: float = 0.15
    rounding: Rounding = "round"
    most: int | None = None

    def __post_init__(self):
        check_rate(self.rate, self.most)


@dataclass(frozen=True, kw_only=True)
class Tokens(_Budgeted):
    """Single tokens, uniformly."""

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        at = np.flatnonzero(~row.special)
        units = np.diff(np.searchsorted(at, row.offsets))
        count = np.where((budget == 0) & (units > 1), 1, np.minimum(budget, units))
        keys, tries = hashed(draw.seed, "select", row.epoch, row.example), enough(units, count)
        while True:
            unit, owner = distinct(keys, units, tries)
            have = np.bincount(owner, minlength=len(units))
            if (have >= count).all():
                break
            tries[have < count] *= 2
        turn = np.arange(len(unit)) - np.repeat(np.cumsum(have) - have, have)
        chosen = at[ascending(unit[turn < np.repeat(count, have)], len(at))]
        return np.stack([chosen, chosen + 1], 1)


@dataclass(frozen=True, kw_only=True)
class Words(_Budgeted):
    """Whole words in random order while they fit; one that would overflow the budget is passed over (BERT's whole-word masking)."""

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        begin, end = bounds(row)
        units, width = np.diff(np.searchsorted(begin, row.offsets)), end - begin
        narrowest = np.full(len(units), np.iinfo(np.int64).max)
        narrowest[units > 0] = np.minimum.reduceat(width, (np.cumsum(units) - units)[units > 0]) if len(width) else 0
        keys, tries = hashed(draw.seed, "select", row.epoch, row.example), enough(units, np.clip(budget, 1, units))
        while True:
            unit, owner = distinct(keys, units, tries)
            have = np.bincount(owner, minlength=len(units))
            taken = fitting(width[unit], owner, budget)
            left = budget - np.bincount(owner, weights=width[unit] * taken, minlength=len(units))
            undone = (left >= narrowest) & (have < units)  # a word that was not drawn yet may fit
            if not undone.any():
                break
            tries[undone] *= 2
        # Nothing fits: the first in random order, where the sequence has a second.
        lacking = (np.bincount(owner[taken], minlength=len(units)) == 0) & (units > 1)
        taken[(np.cumsum(have) - have)[lacking]] = True
        chosen = ascending(unit[taken], len(begin))
        return np.stack([begin[chosen], end[chosen]], 1)


def bounds(row: Row) -> tuple[Array, Array]:
    """(u,) where each word begins and ends; a special ends a word."""
    edge = np.flatnonzero(row.starts | row.special)
    text = np.flatnonzero(~row.special[edge])
    return edge[text], np.append(edge, len(row.tokens))[text + 1]


def words(row: Row) -> Array:
    """(u, 2) spans of the words."""
    return np.stack(bounds(row), 1)


def ascending(numbers: Array, below: int) -> Array:
    """Different numbers, sorted: a flag for each beats a sort."""
    there = np.zeros(below, bool)
    there[numbers] = True
    return np.flatnonzero(there)


def enough(units: Array, count: Array) -> Array:
    """(s,) draws after which `count` of `units` differ, nearly always."""
    mean = units * np.log(units / (units - count + 0.5) + 1e-9)  # the coupon collector's
    return np.where(count > 0, np.ceil(mean + 2 * np.sqrt(count) + 2), 0).astype(np.int64)


def distinct(keys: Array, units: Array, tries: Array) -> tuple[Array, Array]:
    """The units that `tries` (s,) draws out of each sequence's `units` (s,) find, each once, in the order found, and their sequences.

    A random order of all units as far as it is needed: 15 % of them take a fifth of what sorting all would.  Units are numbered
    over all sequences.  Draw t of a sequence is always the same: more draws only add to what was found.
    """
    last = np.cumsum(tries)
    number = np.arange(last[-1] if len(last) else 0)
    owner = np.repeat(np.arange(len(units)), tries)
    turn = (number - (last - tries)[owner]).astype(np.uint64)
    unit = integers(mix(keys[owner] ^ turn), units[owner]) + (np.cumsum(units) - units)[owner]
    first = np.empty(int(units.sum()), np.int64)
    first[unit[::-1]] = number[::-1]  # of equal indices the last assignment stays
    new = first[unit] == number
    return unit[new], owner[new]


def fitting(width: Array, owner: Array, budget: Array) -> Array:
    """(u,) bool: which units a greedy pass takes, each if it still fits; `owner` (u,) is sorted, `budget` (s,).

    A round takes every sequence's units up to the first that overflows.  What is wider than the rest of the budget then can never
    be taken and leaves; the others go round again.
    """
    taken = np.zeros(len(width), bool)
    left = budget.copy()
    alive = np.flatnonzero(width <= left[owner])
    while len(alive):
        sizes, of = width[alive], owner[alive]
        total = np.cumsum(sizes)
        first = np.append(True, of[1:] != of[:-1])
        base = (total - sizes)[first][np.cumsum(first) - 1]
        fits = total - base <= left[of]
        # `total` only grows within a sequence, so `fits` is a prefix of it.
        taken[alive[fits]] = True
        left -= np.bincount(of[fits], weights=sizes[fits], minlength=len(left)).astype(np.int64)
        alive = alive[~fits]
        alive = alive[width[alive] <= left[owner[alive]]]
    return taken
