"""Select: which spans are hidden.  `select(row, draw)` -> (m, 2) int64 flat, half open, sorted, disjoint.

Budgets are exact, drawn without replacement, counted over all tokens of a sequence (specials too) and never spent on a special.
A sequence in which no unit fits the budget is asked one unit, unless that is the whole sequence.  n tokens, s sequences, u units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, counted, scaled
from bertsmith.data.ranges import numbers, spread, sums

Take = Callable[[Array, Array, Array], tuple[Array, Array]]
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
        if not budget.all():
            budget[(budget == 0) & (row.text > 1)] = 1
        return singly(row, draw, ~row.special, budget, row.text)


def singly(row: Row, draw: Draw, units: Array, budget: Array, there: Array) -> Array:
    """Spans of one token: of the `there` (s,) places of each sequence that are `units` (n,) `budget` (s,) at most, uniformly."""

    def take(place: Array, have: Array, of: Array) -> tuple[Array, Array]:
        begin = np.cumsum(have) - have
        done = have >= budget[of]
        if not done.all():
            done |= have == there[of]
        return numbers(begin, begin + np.minimum(have, budget[of])), done

    at = in_random_order(row, draw, units, budget, take)
    return columns(at, at + 1)


@dataclass(frozen=True, kw_only=True)
class Words(_Budgeted):
    """Whole words in random order while they fit; one that would overflow the budget is passed over (BERT's whole-word masking)."""

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        edges = np.append(row.starts | row.special, True)
        widths = np.empty(len(row.tokens), np.int32)  # of the words that were found

        def take(place: Array, have: Array, of: Array) -> tuple[Array, Array]:
            widths[place] = width = reach(edges, place)
            taken = fitting(width, np.repeat(np.arange(len(of)), have), budget[of])
            spent = sums(width * taken, have)
            done = (spent > 0) & (spent == budget[of])
            some = np.flatnonzero(~done)
            count, fits = others(row, row.starts, edges, of[some], (budget[of] - spent)[some], place[taken])
            # Nothing fits: the first in random order, where the sequence has a second.
            lone = (spent[some] == 0) & (count > 1)
            done[some] = ~fits & ~(lone & (have[some] == 0))
            taken[(np.cumsum(have) - have)[some[lone & done[some]]]] = True
            return np.flatnonzero(taken), done

        begin = in_random_order(row, draw, row.starts, np.maximum(budget, 1), take)
        return columns(begin, begin + widths[begin])


def others(row: Row, starts: Array, edges: Array, some: Array, left: Array, taken: Array) -> tuple[Array, Array]:
    """Of the sequences `some`: how many units begin in each, at `starts` (n,), and whether one not `taken` has at most `left` tokens."""
    begin, end = row.offsets[some], row.offsets[some + 1]
    place, owner = spread(begin, end)
    there = starts[place]
    place, owner = place[there], owner[there]
    free = reach(edges, place) <= left[owner]
    free &= ~flags(taken, len(row.tokens))[place]
    fits = np.zeros(len(some), bool)
    fits[owner[free]] = True
    return sums(there, end - begin), fits


def in_random_order(row: Row, draw: Draw, units: Array, count: Array, take: Take) -> Array:
    """Ascending places of what `take` chooses among the `units` (n,), which come to it in random order, about `count` (s,) at first.

    `take(place, have, of)` is given `have` (k,) places for each of the sequences `of` (k,), in the order found, and returns which it takes
    (as indices) and which sequences are done; the others come again with twice as many draws, the same ones first.
    """
    taken = np.zeros(len(units), bool)
    keys, of, tries = draw.keys("select", row), np.arange(len(count)), enough(row.lengths, count)
    while len(of):
        place, have = found(keys[of], row.offsets[of], row.lengths[of], tries, units)
        chosen, done = take(place, have, of)
        taken[place[chosen]] = True
        of, tries = of[~done], 2 * tries[~done]
    return np.flatnonzero(taken)


def reach(edges: Array, begin: Array) -> Array:
    """Tokens up to the next of `edges` (n + 1,) bool, the last of which is true."""
    width = np.ones(len(begin), np.int64)
    which, at, step = np.arange(len(begin)), begin + 1, 1
    while len(more := np.flatnonzero(~edges.take(at))):
        which, at, step = which[more], at[more] + 1, step + 1
        width[which] = step
    return width


def bounds(row: Row) -> tuple[Array, Array]:
    """(u,) where each word begins and ends; a special ends a word."""
    edge = np.flatnonzero(row.starts | row.special)
    text = np.flatnonzero(~row.special[edge])
    return edge[text], np.append(edge, len(row.tokens))[text + 1]


def words(row: Row) -> Array:
    """(u, 2) spans of the words."""
    return columns(*bounds(row))


def columns(begin: Array, end: Array) -> Array:
    """(m, 2); `np.stack` takes twice as long."""
    spans = np.empty((len(begin), 2), np.int64)
    spans[:, 0], spans[:, 1] = begin, end
    return spans


def flags(numbers: Array, below: int) -> Array:
    """(below,) bool: which are among the `numbers`."""
    there = np.zeros(below, bool)
    there[numbers] = True
    return there


def enough(units: Array, count: Array) -> Array:
    """(s,) draws after which `count` of `units` differ, nearly always."""
    share = (units + 0.5) / (np.maximum(units - count, 0) + 0.5)
    mean = units * np.log(share)  # the coupon collector's
    deviation = np.sqrt(units * (share - 1) - mean + 1)
    return ((mean + 4 * deviation + 2) * (count > 0)).astype(np.int64)


def distinct(keys: Array, units: Array, tries: Array) -> tuple[Array, Array]:
    """`found` where every place is a unit: units, numbered over all sequences, and their sequences."""
    unit, have = found(keys, np.cumsum(units) - units, units, tries, np.ones(int(units.sum()), bool))
    return unit, np.repeat(np.arange(len(units)), have)


def found(keys: Array, begin: Array, sizes: Array, tries: Array, units: Array) -> tuple[Array, Array]:
    """The places that `tries` (s,) draws out of each sequence's [begin, begin + size) find, each once, in the order found, if they
    are `units` (n,), and how many these are in each sequence (s,).

    A random order of all units as far as it is needed: 15 % of them take a fifth of what sorting all would.  Draw t of a sequence is
    always the same: more draws only add to what was found.
    """
    pairs = (tries + 1) >> 1  # two draws out of each hash
    half = counted(keys, pairs).view(np.uint32)
    place = scaled(half.astype(np.uint64), np.repeat(sizes, 2 * pairs))
    place += np.repeat(begin, 2 * pairs)
    number = np.arange(len(place), dtype=np.int32)
    first = np.empty(len(units), np.int32)
    first[place[::-1].copy()] = number[::-1].copy()  # of equal indices the last assignment stays
    new = first.take(place) == number
    new &= units.take(place)
    which = np.flatnonzero(new)
    return place[which], sums(new, 2 * pairs)


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
        begin = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
        whose, total = of[begin], np.cumsum(sizes)
        most = total[begin] - sizes[begin] + left[whose]
        # `total` only grows within a sequence, so `fits` is a prefix of it.
        fits = total <= np.repeat(most, np.diff(np.append(begin, len(of))))
        taken[alive] = fits
        left[whose] -= np.add.reduceat(sizes * fits, begin)
        alive = alive[np.flatnonzero(~fits & (sizes <= left[of]))]
    return taken
