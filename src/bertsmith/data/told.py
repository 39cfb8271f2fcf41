"""Rewrites that hide nothing: a text is asked what it is.  Classes of its tokens, of a pair of texts, of the order that it was put into.

ERNIE 2.0's tasks (Sun et al. 2020, arXiv:1907.12412, section 4.2) but for the first are values of these.  n tokens, s sequences.
"""

from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Any, ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, hashed, integers
from bertsmith.data.levels import CAPITAL, RECURS
from bertsmith.errors import InputError
from bertsmith.spelling import flag

Note = Literal["capital", "recurs"]
BITS = {"capital": CAPITAL, "recurs": RECURS}


def _batch(row: Row, tokens: Array, term: str, at: Array, labels: Array) -> Batch:
    targets = {term: Target(at=at[:, None], labels=labels.astype(np.int64))} if len(at) else {}
    return Batch(input=Stream.plain(row, tokens), targets=targets, examples=Examples(row.epoch, row.example))


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Whether a note stands at each token: "capital", of words that begin with a capital letter, asked at the first token of each word;
    "recurs", that the token stands in another part of its document, asked at every token."""

    asks: str
    note: Note = "capital"
    classes: ClassVar[tuple[str, ...]] = ("no", "yes")
    masks: ClassVar[bool] = False

    def check(self, split: Any) -> None:
        if self.note == "capital" and not getattr(split, "capital", ()):
            raise InputError(
                f"corruption.rewrite: the store does not know which words begin with a capital letter; prepare it with {flag('capitals')}"
            )

    def _at(self, row: Row) -> Array:
        return np.flatnonzero(row.starts if self.note == "capital" else ~row.special)

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = self._at(row)
        return _batch(row, row.tokens, self.asks, at, row.annotations[at] & BITS[self.note] != 0)

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        count = len(self._at(row))
        return {self.asks: count} if count else {}


@dataclass(frozen=True, kw_only=True)
class Related:
    """How the two texts of a pair relate, by the label that the layout made."""

    asks: str
    masks: ClassVar[bool] = False

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        asked = np.flatnonzero(row.labels != IGNORE)
        return _batch(row, row.tokens, self.asks, row.offsets[asked], row.labels[asked])

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        count = int((row.labels != IGNORE).sum())
        return {self.asks: count} if count else {}


def orders(pieces: int) -> int:
    """How many orders there are of one piece, of two, … up to so many: 1! + 2! + …"""
    return sum(factorial(n) for n in range(1, pieces + 1))


@dataclass(frozen=True, kw_only=True)
class Reordered:
    """A text in one to `pieces` pieces, each of whole sentences, in a random order: which one is it?  `orders(pieces)` classes: first the one of
    one piece, then those of two in the order of `itertools.permutations`, and so on.

    The number of pieces is uniform, and at most that of the sentences; so is where it is cut, and the order, that of the text included.
    """

    asks: str = "reorder"
    pieces: int = 3
    masks: ClassVar[bool] = False

    def __post_init__(self):
        require(2 <= self.pieces <= 6, f"corruption.rewrite.pieces: {self.pieces} is not from 2 to 6")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        number = draw.keys("pieces", row)
        turn = draw.keys("turn", row)
        order, labels = np.arange(len(row.tokens)), np.zeros(len(row.lengths), np.int64)
        for s, (begin, end) in enumerate(zip(row.offsets[:-1].tolist(), row.offsets[1:].tolist(), strict=True)):
            text = begin + np.flatnonzero(~row.special[begin:end])
            inner = text[1:][row.sentences[text[1:]]]
            count = 1 + int(integers(number[s : s + 1], min(self.pieces, len(inner) + 1))[0])
            keys = draw_order(turn[s], len(inner))
            cuts = np.sort(inner[keys[: count - 1]])
            parts = np.split(text, np.searchsorted(text, cuts))
            chosen = int(integers(turn[s : s + 1], factorial(count))[0])
            arranged = list(permutations(range(count)))[chosen]
            order[text] = np.concatenate([parts[i] for i in arranged]) if len(text) else text
            labels[s] = orders(count - 1) + chosen
        return _batch(row, row.tokens[order], self.asks, row.offsets[:-1], labels)

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        return {self.asks: len(row.lengths)}


def draw_order(key: np.uint64, count: int) -> Array:
    """(count,) a random permutation by one key."""
    return np.argsort(hashed(int(key), "cuts", np.arange(count)), kind="stable")
