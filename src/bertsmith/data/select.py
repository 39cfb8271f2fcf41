"""Select: which spans are hidden.  `select(row, draw)` -> (m, 2) int64 flat, half open, sorted, disjoint.

Budgets are exact, drawn without replacement, counted over all tokens of a sequence (specials too) and never spent on a special.
A sequence in which no unit fits the budget is asked one unit, unless that is the whole sequence.  n tokens, s sequences, u units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, hashed, mix
from bertsmith.data.ranges import spread

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
class Tokens:
    """Single tokens, uniformly.  `most`: BERT's max_predictions_per_seq."""

    rate: float = 0.15
    rounding: Rounding = "round"
    most: int | None = None

    def __post_init__(self):
        check_rate(self.rate, self.most)

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        at = np.flatnonzero(~row.special)
        owner = row.sequence[at]
        units = np.bincount(owner, minlength=len(budget))
        count = np.where((budget == 0) & (units > 1), 1, np.minimum(budget, units))
        near = smallest(hashes(row, draw, at, owner), owner, count, units)
        at, owner = at[near], owner[near]
        units = np.bincount(owner, minlength=len(budget))
        at = at[shuffled(row, draw, at, owner)]
        first = np.cumsum(units) - units
        chosen = np.sort(at[spread(first, first + count)[0]])
        return np.stack([chosen, chosen + 1], 1)


@dataclass(frozen=True, kw_only=True)
class Words:
    """Whole words in random order while they fit; one that would overflow the budget is passed over (BERT's whole-word masking)."""

    rate: float = 0.15
    rounding: Rounding = "round"
    most: int | None = None

    def __post_init__(self):
        check_rate(self.rate, self.most)

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        spans = words(row)
        owner = row.sequence[spans[:, 0]]
        order = shuffled(row, draw, spans[:, 0], owner)  # sequences stay in place, so `owner` still holds
        width = (spans[:, 1] - spans[:, 0])[order]
        taken = fitting(width, owner, budget)
        # Nothing fits: the first in random order, where the sequence has a second.
        units = np.bincount(owner, minlength=len(budget))
        lacking = (np.bincount(owner[taken], minlength=len(budget)) == 0) & (units > 1)
        taken[(np.cumsum(units) - units)[lacking]] = True
        return spans[np.sort(order[taken])]


def words(row: Row) -> Array:
    """(u, 2) spans of the words; a special ends a word."""
    edge = np.flatnonzero(row.starts | row.special)
    spans = np.stack([edge, np.append(edge, len(row.tokens))[1:]], 1)
    return spans[~row.special[edge]]


def hashes(row: Row, draw: Draw, at: Array, owner: Array) -> Array:
    """(u,) uint64: what the units that start at `at` are ordered by."""
    return mix(hashed(draw.seed, "select", row.epoch, row.example)[owner] ^ row.positions[at].astype(np.uint64))


def smallest(keys: Array, owner: Array, count: Array, units: Array) -> Array:
    """(u,) bool that holds for each sequence's `count` smallest keys and few others: sorting these is all that is left to do."""
    share = np.minimum((count + 4 * np.sqrt(count) + 4) / np.maximum(units, 1), 1)
    near = keys <= (share * (2.0**64 - 2048)).astype(np.uint64)[owner]
    short = np.bincount(owner[near], minlength=len(count)) < count  # four deviations were too few: all of these
    return near | short[owner] if short.any() else near


def shuffled(row: Row, draw: Draw, at: Array, owner: Array) -> Array:
    """(u,) a permutation of the units that start at `at` (sorted): sequence by sequence, in the order of their hashes.

    One sort of whole uint64 keys (sequence, hash, position): five times faster than an argsort.
    """
    if not len(at):
        return np.zeros(0, np.int64)
    keys = hashes(row, draw, at, owner)
    first = np.flatnonzero(np.append(True, np.diff(owner) > 0))
    count = np.diff(np.append(first, len(at)))
    rank = np.arange(len(at)) - np.repeat(first, count)  # unit number within its sequence
    low = int(count.max()).bit_length()
    high = len(row.lengths).bit_length()
    assert low + high <= 40, "a row of this size leaves too few bits for the hash"
    keys >>= np.uint64(low + high)
    keys <<= np.uint64(low)
    keys |= rank.astype(np.uint64)
    keys |= owner.astype(np.uint64) << np.uint64(64 - high)
    keys.sort()
    return (keys & np.uint64((1 << low) - 1)).astype(np.int64) + np.repeat(first, count)


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
