"""WordPiece by likelihood: which two pieces become one is said by a unigram model of the pieces, not by how often they meet.

Pieces a and b of a word that stand side by side n times, f(a) and f(b) of the N pieces of a text (Schuster & Nakajima 2012, section 3: the
unit "that increases the likelihood on the training data the most").  Two readings of that are in use:

    ratio   n / (f(a) f(b)): how much more often they meet than by chance.  Rare pieces win
    gain    what the log-likelihood of the text, sum f log(f / N), rises by when they are joined; n log(n N / f(a) f(b)) where n is small
            beside the others

p pairs stand in rows: their two pieces, the one that they become, how often they meet.  A merge visits the words that have its pair; the best
of all pairs is a pass of NumPy over the rows.  Ties go to the pair that meets more often, then by the alphabet.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Literal

import numpy as np

Array = np.ndarray
By = Literal["ratio", "gain"]
LEAST = 2  # times that two pieces meet before they may become one, as with the other trainers
ALIKE = 1e-9  # scores that differ by this share are a tie: logarithms are not the same to the last bit everywhere
LEFT, RIGHT, WHOLE, TIMES = range(4)
Pair = tuple[int, int]


def learned(words: Mapping[str, int], alphabet: Iterable[str], room: int, by: By) -> list[str]:
    """Up to `room` new pieces, in the order in which they are made.

    `words`: how often each stands in the text; those with a character outside of `alphabet` (a, ##a) are [UNK] and teach nothing.
    It ends where no pair meets twice, by gain also where nothing is gained any more."""
    text, known = Pieces(words, alphabet), set(alphabet)
    made: list[str] = []
    while len(made) < room and (row := text.best(by)) is not None:
        name = text.join(row)
        if name not in known:
            known.add(name)
            made.append(name)
    return made


def rise(of: Array | int, n: Array) -> Array:
    """What f log f rises by from f = `of` to `of` + `n`, without taking large numbers from one another."""
    more = np.asarray(of + n, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing was there before
        return n * np.log(more) - np.where(np.asarray(of) > 0, of * np.log1p(-n / more), 0.0)


class Pieces:
    """The words of a text, each as pieces, and how often pieces and pairs of them stand in it."""

    def __init__(self, words: Mapping[str, int], alphabet: Iterable[str]):
        self.names = sorted(alphabet)  # and of what pairs would become
        self.ids = {name: i for i, name in enumerate(self.names)}
        self.times = np.zeros(max(1024, 2 * len(self.names)), np.int64)  # of each name; 0 of what is no piece
        self.total = 0
        self.rows: dict[Pair, int] = {}
        self._pairs = np.zeros((4, 1024), np.int64)
        self._alone = np.zeros(1024)
        self._moved: set[int] = set()  # pieces whose number is another since `_alone` was computed
        self.standing: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that a pair may stand in
        self.words: list[list[int]] = []
        self.often: list[int] = []
        singles: Counter[int] = Counter()
        met: Counter[Pair] = Counter()
        for word, often in sorted(words.items()):
            spelt = [self.ids.get("##" * (i > 0) + c, -1) for i, c in enumerate(word)]
            if spelt and min(spelt) >= 0:
                self._tell(len(self.words), spelt, often, singles, met)
                self.words.append(spelt)
                self.often.append(often)
        self._add(singles, met)

    @property
    def pairs(self) -> Array:
        """(4, p) LEFT, RIGHT, WHOLE, TIMES."""
        return self._pairs[:, : len(self.rows)]

    def best(self, by: By) -> int | None:
        """The row of the pair to join; None where there is none."""
        rows = np.flatnonzero(self.pairs[TIMES] >= LEAST)
        if not len(rows):
            return None
        rows, score = self._promising(rows) if by == "gain" else (rows, self.ratios(rows))
        most = float(score.max())
        if most <= 0:
            return None
        near = rows[score >= most * (1 - ALIKE)].tolist()
        return min(near, key=lambda row: (-int(self.pairs[TIMES, row]), *self.spelt(row)))

    def ratios(self, rows: Array) -> Array:
        """(r,) n / (f(a) f(b)): whole numbers and one division, so that what is equal is equal everywhere."""
        left, right, _, n = self.pairs[:, rows]
        return n / (self.times[left] * self.times[right]).astype(np.float64)

    def gains(self, rows: Array) -> Array:
        """(r,) the rise of the log-likelihood, sum f log f - N log N, when the pairs of these rows are joined."""
        n = self.pairs[TIMES, rows]
        return self._of_pieces(rows) + rise(self.total - n, n)

    def _of_pieces(self, rows: Array) -> Array:
        """(r,) the rise of sum f log f."""
        left, right, whole, n = self.pairs[:, rows]
        of = self.times
        lost = np.where(left == right, rise(of[left] - 2 * n, 2 * n), rise(of[left] - n, n) + rise(of[right] - n, n))
        return rise(of[whole], n) - lost

    def _promising(self, rows: Array) -> tuple[Array, Array]:
        """(rows, gains) that the best is among: the rise of N log N lies between n (1 + log N) - n^2 / N and n (1 + log N)."""
        moved = np.zeros(len(self.names), bool)
        moved[list(self._moved)] = True
        self._moved.clear()
        stale = rows[moved[self.pairs[:TIMES, rows]].any(0)]
        self._alone[stale] = self._of_pieces(stale)
        n = self.pairs[TIMES, rows]
        most = self._alone[rows] + n * (1 + math.log(self.total))
        floor = float((most - n * n / self.total).max())
        some = rows[most >= floor - ALIKE * abs(floor)]
        return some, self.gains(some)

    def spelt(self, row: int) -> tuple[str, str]:
        left, right = self.pairs[[LEFT, RIGHT], row].tolist()
        return self.names[left], self.names[right]

    def join(self, row: int) -> str:
        """Make one piece of every pair of this row; its name."""
        left, right, whole = self.pairs[:TIMES, row].tolist()
        singles: Counter[int] = Counter()
        met: Counter[Pair] = Counter()
        for number in sorted(self.standing.pop((left, right))):
            word, often = self.words[number], self.often[number]
            new = list(_joined(word, left, right, whole))
            if len(new) < len(word):
                self._tell(number, word, -often, singles, met)
                self._tell(number, new, often, singles, met)
                self.words[number] = new
        self._add(singles, met)
        return self.names[whole]

    def _tell(self, number: int, word: list[int], often: int, singles: Counter[int], met: Counter[Pair]) -> None:
        """Count a word `often` times more."""
        for piece in word:
            singles[piece] += often
        for pair in _meeting(word):
            met[pair] += often
            if often > 0:
                self.standing[pair].add(number)

    def _add(self, singles: Counter[int], met: Counter[Pair]) -> None:
        for pair in met:
            if pair not in self.rows:
                self._row(pair)
        for piece, often in singles.items():
            self.times[piece] += often
        self.total += sum(singles.values())
        for pair, often in met.items():
            self._pairs[TIMES, self.rows[pair]] += often
        self._moved.update(singles)

    def _row(self, pair: Pair) -> None:
        left, right = pair
        name = self.names[left] + self.names[right].removeprefix("##")
        whole = self.ids.setdefault(name, len(self.names))
        if whole == len(self.names):
            self.names.append(name)
            if whole == len(self.times):
                self.times = np.append(self.times, np.zeros_like(self.times))
        row = len(self.rows)
        if row == self._pairs.shape[1]:
            self._pairs = np.append(self._pairs, np.zeros_like(self._pairs), 1)
            self._alone = np.append(self._alone, np.zeros_like(self._alone))
        self._pairs[:, row] = left, right, whole, 0
        self.rows[pair] = row
        self._moved.add(left)


def _meeting(word: list[int]) -> Iterator[Pair]:
    """The pairs of a word; of a piece that follows itself those that can be joined at once, from the left."""
    before, taken = None, False
    for pair in pairwise(word):
        taken = pair == before and not taken
        if not taken:
            yield pair
        before = pair


def _joined(word: list[int], left: int, right: int, whole: int) -> Iterator[int]:
    at, last = 0, len(word) - 1
    while at <= last:
        joins = at < last and word[at] == left and word[at + 1] == right
        yield whole if joins else word[at]
        at += 1 + joins
