"""XLNet (Yang et al. 2019): spans are predicted in a random order, each token from what comes before it in that order.

A sequence has one part, or two where it is read in threads: what the next sequence finds in memory, and the rest; the second sees all of
the first.  Released code (data_utils.py).  n tokens, s sequences, p parts, m asked tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import NEVER, Array, Batch, Examples, Row, Stream, Target, Vocab, wide
from bertsmith.data.draw import Draw, hashed, integers, uniform
from bertsmith.data.ranges import numbers, sums
from bertsmith.data.rewrite import bits_at
from bertsmith.data.select import check_rate, columns, flags, in_random_order


@dataclass(frozen=True)
class Parts:
    """The parts of a row's sequences, as draws and searches see sequences."""

    tokens: Array  # (n,)
    lengths: Array  # (p,)
    epoch: Array
    example: Array  # two numbers for each of the row's

    @classmethod
    def of(cls, row: Row) -> "Parts":
        first = row.lengths if row.thread is None else np.minimum(row.lengths, row.thread.stride)
        lengths = np.stack([first, row.lengths - first], 1).ravel()
        example = (2 * row.example[:, None] + np.arange(2)).ravel()
        there = lengths > 0
        return cls(row.tokens, lengths[there], np.repeat(row.epoch, 2)[there], example[there])

    @property
    def offsets(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.lengths)])


@dataclass(frozen=True, kw_only=True)
class PartialSpans:
    """Spans of 1 to `longest` pieces, p ~ 1 / length, each in a window as wide as `rate` asks (the paper's K is 1 / rate, 6).

    A span begins with a word and has its length in pieces (the released code means words, but looks at the first piece again and again).
    Where windows run out before the budget is spent, single tokens fill it.  The code lets these fall on separators, too, and drops them
    later; here they are text.
    """

    rate: float = 0.1667
    longest: int = 5

    def __post_init__(self):
        check_rate(self.rate, None)
        require(self.longest >= 1, f"corruption.select.longest: {self.longest} is below 1 token")

    def budgets(self, row: Row, parts: Parts) -> Array:
        """(p,) round(rate n) for a sequence, of which its first part gets its share rounded down."""
        whole = np.rint(row.lengths * self.rate).astype(np.int64)
        first = parts.example % 2 == 0
        owner = np.cumsum(first) - 1
        share = whole[owner] * parts.lengths // row.lengths[owner]
        of_first = share[first][owner]
        return np.where(first, share, whole[owner] - of_first)

    def __call__(self, row: Row, draw: Draw) -> Array:
        parts = Parts.of(row)
        text = ~row.special
        begin, end = parts.offsets[:-1], parts.offsets[1:]
        left = np.minimum(self.budgets(row, parts), sums(text, parts.lengths))
        hidden = self._in_windows(row, parts, begin, end, left, draw)
        left = left - sums(hidden, parts.lengths)
        free = text & ~hidden

        def take(place: Array, have: Array, of: Array) -> tuple[Array, Array]:
            start = np.cumsum(have) - have
            return numbers(start, start + np.minimum(have, left[of])), have >= left[of]

        some = in_random_order(parts, draw, free, left, take)
        hidden[some] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[False], hidden, [False]]).astype(np.int8)))
        return self._cut(columns(edges[::2], edges[1::2]), row)

    def _in_windows(self, row: Row, parts: Parts, begin: Array, end: Array, budget: Array, draw: Draw) -> Array:
        """(n,) bool.  One span for every part at a time, from left to right, until its budget is spent or its text ends."""
        hidden = np.zeros(len(row.tokens), bool)
        count = len(row.tokens)
        following = np.append(np.where(row.starts, np.arange(count), count), count)  # the next word from each place on
        following = np.minimum.accumulate(following[::-1])[::-1]
        held = np.concatenate([[0], np.cumsum(~row.special)])
        shares = np.cumsum(1 / np.arange(1, self.longest + 1))
        keys = draw.keys("span", parts)
        at, left, some, turn = begin.copy(), budget.copy(), np.flatnonzero(budget > 0), 0
        while len(some):
            choice, place = (hashed(turn, name, keys[some]) for name in ("length", "place"))
            length = np.searchsorted(shares / shares[-1], uniform(choice), "right") + 1
            length = np.minimum(np.minimum(length, self.longest), left[some])
            window = np.rint(length / self.rate).astype(np.int64)
            before = integers(place, window)
            first = following[np.minimum(at[some] + before, count)]
            last = first + length
            fits = last < end[some]
            some, first, last = some[fits], first[fits], last[fits]
            hidden[numbers(first, last)] = True
            left[some] -= held[last] - held[first]
            at[some] = last + (window - before)[fits]
            turn += 1
            some = some[(left[some] > 0) & (at[some] < end[some])]
        return hidden & ~row.special

    def _cut(self, spans: Array, row: Row) -> Array:
        """Spans that touch across two sequences are two."""
        inside = row.offsets[1:-1]
        split = (
            inside[flags(numbers(spans[:, 0] + 1, spans[:, 1]), len(row.tokens) + 1)[inside]]
            if len(spans)
            else inside[:0]
        )
        return columns(np.sort(np.append(spans[:, 0], split)), np.sort(np.append(spans[:, 1], split)))


@dataclass(frozen=True, kw_only=True)
class Permuted:
    """Each asked token, or frame, is asked for by one of its own behind the text, at the answer's position and segment.

    In every part, asked tokens and separators come in a random order; the other tokens come before all of these and see each other.
    """

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        rank = self._ranks(row, at, draw)
        asked = sums(flags(at, len(row.tokens)), row.lengths)  # (s,)
        before = np.cumsum(asked) - asked
        place = np.arange(len(row.tokens)) + np.repeat(before, row.lengths)
        asks = np.arange(len(at)) + np.repeat(row.offsets[1:], asked)

        def both(content: Array, asking: Array | int) -> Array:
            values = np.empty((len(place) + len(asks), *content.shape[1:]), content.dtype)
            values[place], values[asks] = content, asking
            return values

        stream = Stream(
            tokens=both(row.tokens, vocab.mask),
            positions=both(row.positions, row.positions[at]),
            segments=both(row.segments, row.segments[at]),
            query_rank=both(rank, rank[at] - 1),
            key_rank=both(rank, NEVER),
            lengths=tuple((row.lengths + asked).tolist()),
            visibility="ranks",
            thread=row.thread,
        )
        targets = {asked_of(row): Target(at=asks[:, None], labels=wide(row.tokens[at]))}
        return Batch(input=stream, targets=targets, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        return {asked_of(row): int((spans[:, 1] - spans[:, 0]).sum())}

    def _ranks(self, row: Row, at: Array, draw: Draw) -> Array:
        """(n,) int32: 0 for the first part's other tokens, 1, 2, ... for its ordered ones; the second part goes on from there."""
        parts = Parts.of(row)
        ordered = row.special.copy()
        ordered[at] = True
        where = np.flatnonzero(ordered)
        part = np.repeat(np.arange(len(parts.lengths)), parts.lengths)
        order = np.lexsort((bits_at(draw, "order", row, where), part[where]))
        count = sums(ordered, parts.lengths)
        second = parts.example % 2 == 1
        base = np.where(second, np.roll(count, 1) + 1, 0)
        rank = np.repeat(base, parts.lengths)
        rank[where[order]] += 1 + np.arange(len(where)) - np.repeat(np.cumsum(count) - count, count)
        return rank.astype(np.int32)


def asked_of(row: Row) -> str:
    """The term that is asked."""
    return "token" if row.tokens.ndim == 1 else "frames"
