"""Stretches of a word's letters, and the buckets that they fall into (Bojanowski et al. 2017; the rules of fastText's code).  NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bertsmith.data.batch import Array

OPENS, CLOSES = "<", ">"
_BASIS, _PRIME, _MASK = 2166136261, 16777619, 2**32 - 1


def fnv(data: bytes) -> int:
    """FNV-1a of 32 bits, of bytes that are signed before they are widened, as fastText hashes them."""
    found = _BASIS
    for byte in data:
        found = _folded(found, byte)
    return found


def _folded(found: int, byte: int) -> int:
    return ((found ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _PRIME) & _MASK


def _hashed(word: str, shortest: int, longest: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, hash) of the stretches, by their beginnings, the short ones first; one letter alone at either end is none."""
    letters = [letter.encode("utf-8", "surrogatepass") for letter in word]
    for begin in range(len(letters)):
        found = _BASIS
        for size, letter in enumerate(letters[begin : begin + longest], 1):
            for byte in letter:
                found = _folded(found, byte)
            edge = size == 1 and (begin == 0 or begin + 1 == len(letters))
            if size >= shortest and not edge:
                yield begin, begin + size, found


def grams(word: str, shortest: int = 3, longest: int = 6) -> list[str]:
    """The stretches of `<word>` of so many characters."""
    marked = OPENS + word + CLOSES
    return [marked[begin:end] for begin, end, _ in _hashed(marked, shortest, longest)]


def buckets(word: str, count: int, shortest: int = 3, longest: int = 6) -> list[int]:
    """The bucket, below `count`, of each of `grams(word)`."""
    return [found % count for _, _, found in _hashed(OPENS + word + CLOSES, shortest, longest)]


def listed(words: Sequence[str | None], count: int, shortest: int, longest: int) -> tuple[Array, Array]:
    """The buckets of all words one after the other, int32, and where each word's begin, (words + 1,) int64; None has none."""
    found = [[] if word is None else buckets(word, count, shortest, longest) for word in words]
    ends = np.cumsum([0, *map(len, found)])
    return np.array([bucket for each in found for bucket in each], np.int32), ends.astype(np.int64)


def entries(words: Sequence[str | None], shortest: int, longest: int) -> int:
    """How many `listed` lists."""
    found = 0
    for word in words:
        letters = 0 if word is None else len(word) + 2
        found += sum(max(0, letters - size + 1) for size in range(shortest, longest + 1))
        found -= min(2, letters) if shortest == 1 else 0
    return found
