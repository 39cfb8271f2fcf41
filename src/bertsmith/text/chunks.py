"""Ids of texts from a memory of the chunks between their spaces, each of which the tokenizer sees once.

A tokenizer that never looks across a space gives a text the ids of its chunks, one after the other.  Text repeats itself: of a million
chunks some ten thousand differ, and looking one up takes a tenth of the time of encoding it.  t tokens, c chunks, s texts.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np

from bertsmith.data.ranges import spread
from bertsmith.text.starts import flat

Array = np.ndarray
Encode = Callable[[list[str]], list[list[int]]]  # the tokenizer's own
MOST, LONGEST = 1 << 19, 200  # chunks remembered, and their characters


def local(tree: dict[str, Any], scheme: str | None) -> bool:
    """Whether no token, rule or added word of this tokenizer.json reaches across a single space between visible characters."""
    added = [token for token in tree.get("added_tokens") or () if not token.get("special")]  # these are text here
    reaches = any(token.get("lstrip") or token.get("rstrip") or " " in token["content"] for token in added)
    random = tree["model"].get("dropout")
    if scheme in ("bytes", "space") and any(step["type"] == "Strip" for step in flat(tree.get("normalizer"))):
        return False  # the space before a text goes, the one within does not
    return scheme is not None and not reaches and not random and not tree.get("truncation") and not tree.get("padding")


class _Numbers(dict):
    """Chunk -> its number; a new one is added to `fresh` as the tokenizer is to see it."""

    def __init__(self, memory: Chunks, before: str):
        super().__init__()
        self.memory, self.before = memory, before

    def __missing__(self, chunk: str) -> int:
        number = self.memory.known + len(self.memory.fresh)
        self.memory.fresh.append(self.before + chunk)
        self[chunk] = number
        return number


class Chunks:
    """`before`: what stands before a chunk that is not the first of its text (byte-level BPE keeps the space)."""

    def __init__(self, encode: Encode, before: str = ""):
        self.encode, self.before = encode, before
        self._forget()

    def _forget(self) -> None:
        self.fresh: list[str] = []
        self.known = 0
        self.inner = _Numbers(self, self.before)
        self.first = _Numbers(self, "") if self.before else self.inner
        self.ids = np.zeros(0, np.int32)  # of all known chunks
        self.begin = np.zeros(1, np.int64)  # (known + 1,)

    def __call__(self, texts: list[str], inside: list[bool] | None = None) -> tuple[Array, Array]:
        """(t,) int32, and (s,) where each text's end: what `encode` gives, for any texts; `inside`: for a text after a space."""
        split = [text.split() for text in texts]
        spaced = np.zeros(len(texts), bool) if inside is None else np.array(inside, bool)
        clean = np.array([" ".join(words) == text for words, text in zip(split, texts, strict=True)], bool)
        if clean.all():
            return self._look_up(split, spaced)
        ids, ends = self._look_up([split[i] for i in np.flatnonzero(clean)], spaced[clean])
        others = self.encode([self.before * bool(spaced[i]) + texts[i] for i in np.flatnonzero(~clean)])
        counts, begin = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64)
        counts[clean], counts[~clean] = np.diff(ends, prepend=0), [len(one) for one in others]
        begin[clean] = ends - counts[clean]
        begin[~clean] = len(ids) + np.cumsum(counts[~clean]) - counts[~clean]
        both = np.concatenate([ids, np.fromiter(chain.from_iterable(others), np.int32)])
        return both[spread(begin, begin + counts)[0]], np.cumsum(counts)

    def _look_up(self, split: list[list[str]], spaced: Array) -> tuple[Array, Array]:
        if self.known > MOST or len(self.ids) > 16 * MOST:
            self._forget()
        words = np.fromiter(map(len, split), np.int64, len(split))
        last = np.cumsum(words)
        number = np.fromiter(
            map(self.inner.__getitem__, chain.from_iterable(split)), np.int64, int(last[-1]) if len(last) else 0
        )
        if self.first is not self.inner:
            begins = np.flatnonzero((words > 0) & ~spaced)
            leading = [split[i][0] for i in begins.tolist()]
            number[(last - words)[begins]] = np.fromiter(map(self.first.__getitem__, leading), np.int64, len(leading))
        self._learn()
        begin = self.begin[number]
        size = self.begin[number + 1] - begin
        tokens = np.append(0, np.cumsum(size))
        return self.ids[spread(begin, begin + size)[0]], tokens[last]

    def _learn(self) -> None:
        """Encodes what is new; chunks that are too long to come again lose their names."""
        if not self.fresh:
            return
        found = self.encode(self.fresh)
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        self.ids = np.concatenate([self.ids, np.fromiter(chain.from_iterable(found), np.int32, int(sizes.sum()))])
        self.begin = np.concatenate([self.begin, self.begin[-1] + np.cumsum(sizes)])
        self.known += len(self.fresh)
        for chunk in self.fresh:
            if len(chunk) > LONGEST:
                self.inner.pop(chunk.removeprefix(self.before), None)
                self.first.pop(chunk, None)
        self.fresh = []
