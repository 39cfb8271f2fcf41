"""Entries of a word list found in a token stream, the longest first.  n tokens, m matches, L tokens of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.text.word_list import word_list
from bertsmith.text.words import UNSPACED, classes

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

Array = np.ndarray
LONGEST = 32  # tokens of an entry
BASE = np.uint64(0x9E3779B97F4A7C15)


class Lexicon:
    """Matches begin and end where words do; within a script without spaces they may part a segmenter's word."""

    def __init__(self, entries: list[str], tokenizer: Tokenizer):
        self.said: dict[str, Any] = {"entries": len(entries), "unknown": 0, "too_long": 0}
        sizes: dict[int, set[tuple[int, ...]]] = {}
        ways = [tokenizer.encode([before + entry for entry in entries]) for before in ("", "a ", "(")]
        for number, encoded in enumerate(
            zip(*ways, strict=True)
        ):  # as a text begins, behind a space, and behind another word
            count = int(encoded[0][1].sum())
            known = {_words(ids, starts, count, count + (way > 0)) for way, (ids, starts) in enumerate(encoded)}
            known = {ids for ids in known if ids and tokenizer.vocab.unk not in ids}
            self.said["unknown"] += not known
            self.said["too_long"] += bool(known) and min(map(len, known)) > LONGEST
            for ids in known:
                if len(ids) <= LONGEST:
                    sizes.setdefault(len(ids), set()).add(ids)
                    self.note(ids, number)
        self.rows = {size: hashed_rows(np.array(sorted(rows), np.int32)) for size, rows in sorted(sizes.items())}
        first = [token.removeprefix("##").lstrip("▁Ġ")[:1] for token in tokenizer.tokens(range(tokenizer.size))]
        # Beside these tokens a word may always end: a space, a character of a script without spaces.
        self.free = np.array([not c or classes()[ord(c)] == UNSPACED for c in first])

    def note(self, ids: tuple[int, ...], number: int) -> None:
        """Entry `number` may stand as these tokens."""

    @classmethod
    def read(cls, path: str, tokenizer: Tokenizer) -> Lexicon:
        """A word list (word_list.py) as its entries."""
        entries, form = word_list(path)
        found = cls(entries, tokenizer)
        found.said |= {"read_as": form} if form else {}
        return found

    def __call__(self, ids: Array, starts: Array, sentences: Array) -> Array:
        """(m, 2) all matches, overlapping ones too."""
        free = self.free[ids]
        edge = np.append(starts | free | np.append(False, free[:-1]), True)
        edge[sentences] = True
        return matches(self.rows, ids, edge, np.repeat(sentences[1:], np.diff(sentences)))


def matches(rows: dict[int, tuple[Array, Array]], ids: Array, edge: Array, ends: Array | None = None) -> Array:
    """(m, 2) all places at which one of the `rows` (by size: hashed_rows) stands in `ids` (n,), overlapping ones too.

    `edge` (n + 1,): where a match may begin or end; `ends` (n,): the end that one that begins here must not cross.
    """
    count = len(ids)
    found, hashes = [np.zeros((0, 2), np.int64)], np.zeros(count, np.uint64)
    for size in range(1, max(rows, default=0) + 1):
        if size > count:
            break
        hashes = hashes[: count - size + 1] * BASE + _spread(ids[size - 1 :])
        if size in rows:
            keys, wanted = rows[size]
            may = edge[: len(hashes)] & edge[size:]
            if ends is not None:
                may &= ends[: len(hashes)] >= np.arange(size, count + 1)
            at = np.flatnonzero(may)
            place = np.minimum(np.searchsorted(keys, hashes[at]), len(keys) - 1)
            hit = keys[place] == hashes[at]
            at, place = at[hit], place[hit]
            same = (ids[at[:, None] + np.arange(size)] == wanted[place]).all(1)
            found.append(np.stack([at[same], at[same] + size], 1))
    return np.concatenate(found)


def _words(ids: Array, starts: Array, count: int, of: int) -> tuple[int, ...]:
    """The last `count` words, without tokens of mere space before them; nothing unless there are `of`: some token holds two."""
    begins = np.flatnonzero(starts)
    return tuple(ids[begins[-count] :].tolist()) if count and len(begins) == of else ()


def _spread(ids: Array) -> Array:
    return (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)


def hashed_rows(rows: Array) -> tuple[Array, Array]:
    """(e,) ascending hashes of the rows (e, L), and the rows in that order."""
    keys = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        keys = keys * BASE + _spread(column)
    order = np.argsort(keys, kind="stable")
    return keys[order], rows[order]


def disjoint(spans: Array) -> Array:
    """Of spans (m, 2) in any order those that a reader from the left takes, the longest at each place; ascending."""
    order = np.lexsort([-spans[:, 1], spans[:, 0]])
    kept, until = [], 0
    for begin, end in spans[order].tolist():
        if begin >= until:
            kept.append((begin, end))
            until = end
    return np.array(kept, np.int64).reshape(-1, 2)
