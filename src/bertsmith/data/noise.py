"""Selects of text-to-text denoising: random spans (T5), words under spans of a Poisson length (BART), the end of a text (prefix LM).

Like those of select.py: spans (m, 2) flat, half open, sorted, disjoint; nothing across a special.  n tokens, s sequences, u words.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import exp, factorial
from typing import ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, arranged, counted, integers, uniform
from bertsmith.data.ranges import numbers
from bertsmith.data.select import check_rate, columns, singly


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Places to choose from, for draws that take a row: `lengths` (s,) of each sequence."""

    lengths: Array
    epoch: Array
    example: Array

    @property
    def offsets(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class RandomSpans:
    """T5 (section 3.1.4, released `random_spans_noise_mask`): round(rate n) of a sequence's n tokens, in round(that / mean) spans; both
    what is hidden and what stays are parted at random, every way alike.  The first token always stays, the last is always hidden.

    n counts the text, without specials.  `units`: what spans are counted in.
    """

    rate: float = 0.15
    mean: float = 3.0
    units: ClassVar[str] = "token"

    def __post_init__(self):
        check_rate(self.rate, None)
        require(self.mean >= 1, f"corruption.select.mean: {self.mean} is below 1 token")

    def sizes(self, text: Array) -> tuple[Array, Array]:
        """(s,) how many of `text` (s,) tokens are hidden, and in how many spans; halves are rounded to even."""
        noise = np.clip(np.rint(text * self.rate), 1, text - 1).astype(np.int64) * (text > 1)
        spans = np.maximum(np.rint(noise / self.mean), 1).astype(np.int64)
        return noise, np.minimum(np.minimum(spans, noise), np.maximum(text - noise, 0))

    def __call__(self, row: Row, draw: Draw) -> Array:
        noise, count = self.sizes(row.text)
        kept = self._parted(row, draw, row.text - noise, count, 0)
        hidden = self._parted(row, draw, noise, count, 1)
        first = np.cumsum(count) - count
        before = np.cumsum(kept + hidden) - kept - hidden
        begin = before + kept - np.repeat(before[first[count > 0]], count[count > 0])  # among the text of its sequence
        begin += np.repeat(np.cumsum(row.text) - row.text, count)
        return _through(row, begin, begin + hidden)

    def _parted(self, row: Row, draw: Draw, total: Array, parts: Array, number: int) -> Array:
        """`total` (s,) as sums of `parts` (s,) positive numbers, one sequence's after the other's."""
        inner = Stretch(
            lengths=np.maximum(total - 1, 0) * (parts > 0), epoch=row.epoch, example=2 * row.example + number
        )
        everywhere = np.ones(int(inner.lengths.sum()), bool)
        cuts = singly(inner, draw, everywhere, np.maximum(parts - 1, 0), inner.lengths)[:, 0]
        place = cuts - np.repeat(inner.offsets[:-1], np.maximum(parts - 1, 0)) + 1
        # Each sequence's cuts between 0 and its total.
        edges = np.empty(len(cuts) + int((parts > 0).sum()), np.int64)
        last = np.cumsum(parts)[parts > 0] - 1
        inside = np.ones(len(edges), bool)
        inside[last] = False
        edges[last], edges[inside] = total[parts > 0], place
        before = np.roll(edges, 1)
        before[(np.cumsum(parts) - parts)[parts > 0]] = 0
        return edges - before


@dataclass(frozen=True, kw_only=True)
class Independent:
    """Each token of the text by itself (T5's i.i.d. noise); neighbours that are hidden are one span, or each its own where `apart`."""

    rate: float = 0.15
    apart: bool = False

    def __post_init__(self):
        check_rate(self.rate, None)

    def __call__(self, row: Row, draw: Draw) -> Array:
        hidden = (draw.tokens("select", row) < self.rate) & ~row.special
        if self.apart:
            at = np.flatnonzero(hidden)
            return columns(at, at + 1)
        return _runs(row, hidden)


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The end of a text, of 1 to all but one of its tokens, each as likely (T5's prefix language model)."""

    rate: ClassVar[float] = 0.5  # on average

    def __call__(self, row: Row, draw: Draw) -> Array:
        keep = 1 + integers(draw.keys("select", row), np.maximum(row.text - 1, 0))
        some = row.text > 1
        begin = np.cumsum(row.text) - row.text
        return _through(row, (begin + keep)[some], (begin + row.text)[some])


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No token is hidden: the text is asked for because it was moved, or one stack reads and another writes it."""

    rate: ClassVar[float] = 1.0  # there is no share to meet

    def __call__(self, row: Row, draw: Draw) -> Array:
        return np.zeros((0, 2), np.int64)


@dataclass(frozen=True, kw_only=True)
class Infilling:
    """BART (released `add_whole_word_mask`): ceil(rate u) of u words, in spans of Poisson(mean) words that begin at words of their own.

    Lengths are drawn until they add up to the budget, the last one cut.  Spans may run into one another, so that fewer words are hidden (0.27
    of the tokens at 0.3), and end with the text.  A length of 0 is an empty span: something will stand there, and nothing is hidden.
    """

    rate: float = 0.3
    mean: float = 3.0
    units: ClassVar[str] = "word"
    meets: ClassVar[bool] = False  # the rate: spans overlap

    def __post_init__(self):
        check_rate(self.rate, None)
        require(self.mean > 0, f"corruption.select.mean: {self.mean} must be above 0 words")

    def __call__(self, row: Row, draw: Draw) -> Array:
        begin = np.flatnonzero(row.starts)
        first = np.searchsorted(begin, row.offsets)
        words = np.diff(first)
        length, owner = self._lengths(row, draw, np.ceil(self.rate * words).astype(np.int64))
        some = length > 0
        number = np.bincount(owner[some], minlength=len(words))
        inner = Stretch(lengths=words, epoch=row.epoch, example=row.example)
        starts = singly(inner, draw, np.ones(len(begin), bool), number, words)[:, 0]
        of_start = np.empty_like(starts)
        of_start[_order(draw, row, number)] = length[some]  # which word gets which length
        # No span goes on from one sequence to the next, nor across a special; nor does a word.
        edges = np.sort(np.concatenate([row.offsets, np.flatnonzero(row.special)]))
        walls = np.searchsorted(begin, edges)
        stop = np.minimum(starts + of_start, walls[np.searchsorted(walls, starts, "right")])
        from_word, to_word = _joined(starts, stop)
        last = begin[to_word - 1]
        after = np.where(to_word < len(begin), begin[np.minimum(to_word, len(begin) - 1)], len(row.tokens))
        hidden = columns(begin[from_word], np.minimum(after, edges[np.searchsorted(edges, last, "right")]))
        return self._with_empty(row, draw, hidden, np.bincount(owner[~some], minlength=len(words)))

    def _lengths(self, row: Row, draw: Draw, budget: Array) -> tuple[Array, Array]:
        """Words of each span, and the sequence that it is of."""
        # Enough, nearly always: so many add up to four deviations more than the budget.
        tries = np.where(budget > 0, np.ceil((budget + 4 * np.sqrt(budget) + 16) / self.mean).astype(np.int64), 0)
        keys = draw.keys("length", row)
        while True:
            drawn = np.searchsorted(poisson(self.mean), uniform(counted(keys, tries)), "right")
            total, first = np.cumsum(drawn), np.cumsum(tries) - tries
            there = tries > 0
            total -= np.repeat((total - drawn)[first[there]], tries[there])
            if (total[(first + tries)[there] - 1] >= budget[there]).all():
                break
            tries = tries * 2
        owner = np.repeat(np.arange(len(budget)), tries)
        left = np.repeat(budget, tries) - (total - drawn)
        taken = np.flatnonzero(left > 0)
        return np.minimum(drawn[taken], left[taken]), owner[taken]

    def _with_empty(self, row: Row, draw: Draw, hidden: Array, count: Array) -> Array:
        """Empty spans (`count` (s,) of them) in gaps of what the encoder will read, none within a hidden span."""
        gap = ~row.special
        gap[1:] |= gap[:-1] & row.special[1:]  # behind the last token, too
        inside = np.flatnonzero(hidden[:, 1] - hidden[:, 0] > 1)
        gap[numbers(hidden[inside, 0] + 1, hidden[inside, 1])] = False
        place = np.flatnonzero(gap)
        lengths = np.diff(np.searchsorted(place, row.offsets))
        inner = Stretch(lengths=lengths, epoch=row.epoch, example=row.example)
        count = np.minimum(count, lengths)
        within = singly(inner, Draw(draw.seed ^ 0xE), np.ones(len(place), bool), count, lengths)[:, 0]
        at = place[within]
        return np.insert(hidden, np.searchsorted(hidden[:, 0], at), at[:, None], axis=0)


def _joined(start: Array, stop: Array) -> tuple[Array, Array]:
    """Of spans that begin at `start`, ascending: those that overlap are one, those that touch are not."""
    stop = np.maximum.accumulate(stop)
    fresh = np.ones(len(start) + 1, bool)
    np.greater_equal(start[1:], stop[:-1], out=fresh[1:-1])
    return start[fresh[:-1]], stop[fresh[1:]]


@lru_cache(maxsize=8)
def poisson(mean: float) -> Array:
    """Below these lie 0, 0 and 1, ... of a Poisson distribution."""
    most = int(mean + 12 * mean**0.5 + 12)
    return np.cumsum([exp(-mean) * mean**k / factorial(k) for k in range(most)])


def _order(draw: Draw, row: Row, count: Array) -> Array:
    """A random order of the first `count` (s,) of each sequence, one after the other."""
    keys = counted(draw.keys("pairing", row), count)
    return arranged(keys, np.repeat(np.arange(len(count)), count))


def _through(row: Row, begin: Array, end: Array) -> Array:
    """Spans among the text tokens as spans of the row, parted where a special stands in them."""
    text = np.flatnonzero(~row.special)
    if not len(begin):
        return np.zeros((0, 2), np.int64)
    first, last = text[begin], text[end - 1] + 1
    if (last - first == end - begin).all():
        return columns(first, last)
    hidden = np.zeros(len(row.tokens), bool)
    hidden[text[numbers(begin, end)]] = True
    return _runs(row, hidden)


def _runs(row: Row, hidden: Array) -> Array:
    """What is hidden as spans; a sequence's first token begins one."""
    before = np.append(False, hidden[:-1])
    before[row.offsets[:-1]] = False
    after = np.append(hidden[1:], False)
    after[row.offsets[1:] - 1] = False
    return columns(np.flatnonzero(hidden & ~before), np.flatnonzero(hidden & ~after) + 1)
