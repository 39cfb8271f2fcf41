"""Spans of several words: n-grams and SpanBERT's spans.  Selects like those of select.py, nothing across a special.

Where a paper takes one span after the other, each depending on those before, many tries are drawn at once and settled together.
n tokens, s sequences, u words, t tries in the order (sequence, turn); a cell is a place (word or token) that a try covers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, halves, integers, mix, scaled, uniform
from bertsmith.data.levels import LEVELS, annotated, check_levels
from bertsmith.data.ranges import spread
from bertsmith.data.select import Rounding, budgets, check_rate, enough, in_random_order, others, reach

SPAN, NOTED = np.uint64(0x5BA2), np.uint64(0xA77D)  # part the draws of a try from the draw of its place


@dataclass(frozen=True, kw_only=True)
class NGrams:
    """1 to `longest` words in a row, n with probability proportional to 1/n, while they fit (ALBERT's code; its paper, section 3.1).

    Words come in random order and each starts an n-gram: shorter where the text ends or the budget does, passed over where it would run
    over a hidden word or nothing fits.  `units`: words, or tokens.  `single`: the share of n-grams of one unit, the others as likely each
    (UniLM); `p`: n from a geometric distribution, cut (LTG-BERT); null for 1/n.
    """

    longest: int = 3
    units: Literal["word", "token"] = "word"
    single: float | None = None
    p: float | None = None
    rate: float = 0.15
    rounding: Rounding = "round"
    most: int | None = None

    def __post_init__(self):
        check_rate(self.rate, self.most)
        require(
            self.p is None or (0 < self.p < 1 and self.single is None),
            f"corruption.select.p: {self.p} is not between 0 and 1, or stands beside single={self.single}; null for 1/n",
        )
        require(self.longest >= 1, f"corruption.select.longest: {self.longest} must be at least 1 {self.units}")
        require(
            self.single is None or 0 < self.single <= 1,
            f"corruption.select.single: {self.single} is not a share above 0, or null for 1/n",
        )

    @property
    def weights(self) -> tuple[float, ...]:
        """(longest,) how likely 1, 2, ... units are, in proportion."""
        if self.p is not None:
            return tuple(self.p * (1 - self.p) ** n for n in range(self.longest))
        if self.single is None:
            return tuple(1 / n for n in range(1, self.longest + 1))
        return (self.single, *[(1 - self.single) / max(self.longest - 1, 1)] * (self.longest - 1))

    @property
    def mean(self) -> float:
        """Units of an n-gram before the text or the budget ends it."""
        return sum(n * weight for n, weight in enumerate(self.weights, 1)) / sum(self.weights)

    def __call__(self, row: Row, draw: Draw) -> Array:
        budget = budgets(row, draw, self.rate, self.rounding, self.most)
        starts = row.starts if self.units == "word" else ~row.special
        edges, special = np.append(starts | row.special, True), np.append(row.special, True)
        until = np.zeros(len(row.tokens), np.int64)  # where the n-gram that begins here ends
        keys = draw.keys("length", row)

        def take(place: Array, have: Array, of: Array) -> tuple[Array, Array]:
            owner = np.repeat(of, have)
            words = self._words(place, edges, special)
            chance = uniform(mix(keys[owner] ^ (place - row.offsets[owner]).astype(np.uint64)))
            left, wanted = budget[of], self._lengths(chance, (words[1:] > words[:-1]).sum(0))
            taken, length, hidden = greedy(words, wanted, np.repeat(np.arange(len(of)), have), left, len(edges))
            done = left == 0
            some = np.flatnonzero(~done)
            count, fits = others(row, starts, edges, of[some], left[some], hidden)
            # Nothing fits: the first word in random order, where the sequence has a second.
            lone = (left[some] == budget[of[some]]) & (count > 1)
            done[some] = (~fits | (have[some] >= count)) & ~(lone & (have[some] == 0))
            alone = (np.cumsum(have) - have)[some[lone & done[some]]]
            taken[alone], length[alone] = True, 1
            until[place[taken]] = words[length, np.arange(len(place))][taken]
            return taken, done

        count = np.clip(budget, 1, row.text)
        begin = in_random_order(row, draw, starts, count, take)
        return np.stack([begin, until[begin]], 1)

    def _words(self, place: Array, edges: Array, special: Array) -> Array:
        """(longest + 1, t) where the words of the longest n-grams begin; the last again where there is no further word."""
        words = [place]
        for _ in range(self.longest):
            at = words[-1]
            words.append(np.where(special[at] | (len(words) > 1) & (at == place), at, at + reach(edges, at)))
        return np.stack(words)

    def _lengths(self, chance: Array, room: Array) -> Array:
        """(t,) words wanted, of at most `room` (t,)."""
        below = np.stack([cumulative(self.weights[: k + 1], self.longest) for k in range(self.longest)])
        return 1 + (chance[:, None] >= below[room - 1]).sum(1)


def greedy(words: Array, wanted: Array, owner: Array, left: Array, size: int) -> tuple[Array, Array, Array]:
    """(t,) which n-grams are taken one after the other, (t,) how many words each became, and where their words begin.

    `words` (longest + 1, t) where each one's words begin, and the last ends; `left` (s,) tokens, which are spent.  A round settles every
    sequence's tries up to the first that overflows; from there on the lengths that still fit may be shorter.
    """
    taken, length = np.zeros(len(owner), bool), wanted.copy()
    hidden, cover, places = np.zeros(size, bool), np.empty(size, np.int32), [np.zeros(0, np.int64)]
    alive = np.arange(len(owner))
    while True:
        for n in range(len(words) - 1, 0, -1):  # shorten what does not fit
            size_n = words[n, alive] - words[0, alive]
            length[alive] -= (length[alive] == n) & (size_n > left[owner[alive]])
        alive = alive[length[alive] > 0]
        if not len(alive):
            return taken, length, np.concatenate(places)
        at, by = spread(np.zeros(len(alive), np.int64), length[alive])
        cells, of = words[at, alive[by]], owner[alive]
        counts = settle(cells, by, cells, by, ~covered(hidden[cells], by, len(alive)), cover)
        width = words[length[alive], alive] - words[0, alive]
        spent = within(width * counts, of) - width * counts
        settled = within(spent + width > left[of], of) == 0  # also one that is passed over would be shorter by then
        chosen = settled & counts
        taken[alive[chosen]] = True
        places.append(cells[chosen[by]])
        hidden[places[-1]] = True
        left -= np.bincount(of[chosen], weights=width[chosen], minlength=len(left)).astype(np.int64)
        alive = alive[~settled]


def within(values: Array, of: Array) -> Array:
    """(t,) the running sum of `values` within each sequence; `of` (t,) is sorted."""
    total = np.cumsum(values)
    begins = np.append(True, of[1:] != of[:-1])
    return total - (total - values)[begins][np.cumsum(begins) - 1]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """SpanBERT's masking: spans until the budget, counted in tokens, is spent to the token; the last word may be cut (its code).

    `units`: what a span is, the five schemes of the paper's table 6.  "geometric": words from the one that holds a random token on, as
    many as a geometric distribution with `p`, cut off at `longest` and renormalised, says; "word", "token": one; "entity", "phrase": an
    annotated span of the store half of the time, else a word.  A token that is hidden already starts no span, but later spans run over
    hidden tokens; spans that overlap or touch are one.
    """

    units: Literal["geometric", "word", "token", "entity", "phrase"] = "geometric"
    p: float = 0.2
    longest: int = 10
    annotated: float = 0.5  # share of the spans that "entity" and "phrase" take from the annotations
    rate: float = 0.15
    rounding: Rounding = "ceil"
    most: int | None = None

    def __post_init__(self):
        check_rate(self.rate, self.most)
        require(0 < self.p < 1, f"corruption.select.p: {self.p} is not a probability between 0 and 1")
        require(self.longest >= 1, f"corruption.select.longest: {self.longest} must be at least 1 word")

    def check(self, split: Any) -> None:
        check_levels(split, {self.units} & set(LEVELS))

    def lengths(self) -> Array:
        """(longest,) the cumulative distribution of a span's words."""
        longest = self.longest if self.units == "geometric" else 1
        return cumulative(tuple((1 - self.p) ** k for k in range(longest)), longest)

    @property
    def mean(self) -> float:
        """Words of a span before spans are cut off and merged."""
        below = self.lengths()
        return float(len(below) - below[:-1].sum())

    def __call__(self, row: Row, draw: Draw) -> Array:
        specials = np.flatnonzero(row.special)
        before = specials - np.arange(len(specials))  # tokens of text before each special
        first = row.offsets - np.searchsorted(specials, row.offsets)
        count = np.diff(first)
        budget = np.minimum(budgets(row, draw, self.rate, self.rounding, self.most), count)
        ranges = self._ranges(row, specials)
        tries = np.where(budget > 0, self._enough(row, budget), 0).astype(np.int64)
        keys, cover = draw.keys("select", row), np.empty(len(row.tokens), np.int32)
        while True:
            owner = np.repeat(np.arange(len(tries)), tries)
            turn = np.arange(len(owner)) - np.repeat(np.cumsum(tries) - tries, tries)
            bits = mix(keys[owner] ^ turn.astype(np.uint64))
            number = first[owner] + integers(bits, count[owner])
            anchor = number + np.searchsorted(before, number, "right")
            anchor, begin, end = ranges(anchor, bits)
            cells, by = spread(begin, end)
            settle(cells, by, anchor, np.arange(len(owner)), np.ones(len(owner), bool), cover)
            new = cover[cells] == by
            cells, of = cells[new], owner[by[new]]
            have = np.bincount(of, minlength=len(tries))
            if (have >= budget).all():
                break
            tries[have < budget] *= 2
        rank = np.arange(len(cells)) - np.repeat(np.cumsum(have) - have, have)
        return runs(cells[rank < budget[of]], len(row.tokens))

    def _enough(self, row: Row, budget: Array) -> Array:
        """(s,) tries that nearly always spend the budget."""
        if self.units == "token":
            return enough(row.lengths, budget)
        spans = budget / (self.mean * len(row.tokens) / (1 + np.count_nonzero(row.starts)))
        return np.ceil(1.3 * spans + 2.5 * np.sqrt(spans) + 2)

    def _ranges(self, row: Row, specials: Array) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
        """(anchors, bits) of tries -> their anchors, and their spans: first tokens, and one past the last."""
        if self.units == "token":
            return lambda anchor, bits: (anchor, anchor, anchor + 1)
        level = self.units if self.units in LEVELS else None
        begins, ends = annotated(row.annotations, level) if level else (specials[:0], specials[:0])
        first = np.searchsorted(begins, row.offsets)
        edges = row.starts | row.special
        edge, word, below = np.flatnonzero(edges), np.cumsum(edges, dtype=np.int32), self.lengths()

        def ranges(anchor: Array, bits: Array) -> tuple[Array, Array, Array]:
            at, stop = word[anchor], specials[np.searchsorted(specials, anchor)]
            more = np.searchsorted(below, uniform(mix(bits ^ SPAN)), "right")
            begin, end = edge[at - 1], np.minimum(edge[np.minimum(at + more, len(edge) - 1)], stop)
            if len(begins):
                coin, pick = halves(mix(bits ^ NOTED))
                sequence = np.searchsorted(row.offsets, anchor, "right") - 1
                number = first[sequence] + scaled(pick, np.diff(first)[sequence])
                chosen = (uniform(coin << np.uint64(32)) < self.annotated) & (number < first[sequence + 1])
                begin[chosen], end[chosen] = begins[number[chosen]], ends[number[chosen]]
                anchor = np.where(chosen, begin, anchor)
            return anchor, begin, end

        return ranges


def settle(cells: Array, by: Array, asked: Array, of: Array, wanted: Array, cover: Array) -> Array:
    """Which tries count, (t,) bool; `cover`, an array to write in, then says at each of `cells` the first of them that covers it.

    Try `by` covers `cells`; try `of` counts if it is `wanted` and no earlier try that counts covers a cell that it `asked` for (all are
    among `cells`).  Whether it does depends on earlier ones alone, so a guess that its own consequences confirm is the answer; each
    round settles at least one more link of every chain, and chains are short.
    """
    last_first, by_last_first = cells[::-1], by[::-1]  # of equal indices the last assignment stays
    cover[last_first] = np.where(wanted[by_last_first], by_last_first, len(wanted))
    counts = wanted
    while True:
        again = wanted & ~covered(cover[asked] < of, of, len(wanted))
        if np.array_equal(again, counts):
            return counts
        counts = again
        here = counts[by_last_first]
        cover[cells] = len(wanted)
        cover[last_first[here]] = by_last_first[here]


def covered(true: Array, by: Array, tries: int) -> Array:
    """(t,) bool: which tries have a true cell."""
    found = np.zeros(tries, bool)
    found[by[true]] = True
    return found


def runs(cells: Array, size: int) -> Array:
    """(m, 2) the runs that different tokens below `size` make."""
    there = np.zeros(size + 2, bool)
    there[cells + 1] = True
    return np.flatnonzero(there[1:] != there[:-1]).reshape(-1, 2)


@lru_cache(maxsize=64)
def cumulative(weights: tuple[float, ...], size: int) -> Array:
    """(size,) the cumulative distribution over 1, 2, ..., ending in ones."""
    found = np.ones(size)
    found[: len(weights) - 1] = (np.cumsum(weights) / sum(weights))[:-1]
    return found
