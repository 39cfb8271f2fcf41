"""Counts of words that stand near one another, exact, in bounded memory: runs that are sorted, spilled and merged.  NumPy only.

Weights 1 / distance are whole numbers of 1 / `UNIT`, so that no order of adding changes a count.  p pairs of tokens, r runs, c cells.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.data.batch import Array, Vocab
from bertsmith.spelling import amount

LONGEST = 20  # the largest window: lcm(1, …, 20) is below 2**28, so that 2**35 meetings of a pair are counted exactly
UNIT = lcm(*range(1, LONGEST + 1))
CELL = np.dtype([("word", "<i4"), ("other", "<i4"), ("count", "<f4")])
PAIR = 16  # bytes of a key and a weight; four times as much is held while they are sorted
HELD = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """`cells` (c,) of CELL, both ways round; memory-mapped where they were spilled, from `folder`, which goes with them."""

    cells: Array
    said: str
    peak: int  # bytes held at most
    spills: int
    folder: Any = None


def counted(split: Any, vocab: Vocab, window: int, memory: int) -> Counted:
    """All cells of a split of a store.  Its tokens are read once."""
    begun, size = time.monotonic(), vocab.size
    unread = np.zeros(size, bool)
    unread[[*vocab.special, *vocab.wordless]] = True
    room = max(1 << 12, memory // (PAIR * HELD))  # pairs held at once
    runs = _Runs(room)
    stretch = max(1, room // (2 * window))
    for piece, old in _pieces(split, unread, stretch, window):
        runs.add(*_pairs(piece, old, window, size))
    cells, folder = runs.merged(size)
    seconds = time.monotonic() - begun
    text = 4 * split.count / 1e6
    said = (
        f"{amount(len(cells), 'cell')} of words within {window} of one another: {text / max(seconds, 1e-9):,.1f} MB of tokens/s, "
        f"{runs.peak / 1e6:,.0f} MB held at most, {amount(runs.spills, 'spill')}"
    )
    return Counted(cells=cells, said=said, peak=runs.peak, spills=runs.spills, folder=folder)


def _pieces(split: Any, unread: Array, stretch: int, window: int) -> Any:
    """((tokens, document of each), how many of them were there before): words alone, a stretch at a time, behind the `window` before it."""
    before, of = np.zeros(0, np.int64), np.zeros(0, np.int64)
    edges = np.asarray(split.sentences)[np.asarray(split.documents)]
    for begin in range(0, split.count, stretch):
        end = min(begin + stretch, split.count)
        read = split.gather(slice(begin, end)).astype(np.int64)
        document = np.searchsorted(edges, np.arange(begin, end), "right")
        known = ~unread[read]
        tokens, documents = np.append(before, read[known]), np.append(of, document[known])
        yield (tokens, documents), len(before)
        before, of = tokens[-window:], documents[-window:]


def _pairs(piece: tuple[Array, Array], old: int, window: int, size: int) -> tuple[Array, Array]:
    """Keys lesser * size + greater, and weights, of pairs whose second token is new."""
    tokens, document = piece
    keys, weights = [], []
    for distance in range(1, min(window, len(tokens) - 1) + 1):
        first = np.arange(max(0, old - distance), len(tokens) - distance)  # whose second is new
        first = first[document[first] == document[first + distance]]
        a, b = tokens[first], tokens[first + distance]
        keys.append(np.minimum(a, b) * size + np.maximum(a, b))
        weights.append(np.full(len(first), UNIT // distance))
    if not keys:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(keys), np.concatenate(weights)


def summed(keys: Array, weights: Array) -> tuple[Array, Array]:
    """Different keys, ascending, and the sum of weights of each."""
    order = np.argsort(keys, kind="stable")
    keys, weights = keys[order], weights[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    return keys[first], np.add.reduceat(weights, first) if len(first) else weights


class _Folder:
    """A folder that goes when nobody holds it any more, or when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bertsmith-cells-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)


class _Runs:
    """Sorted runs; `room`: pairs that are held at once, beyond which they go to files."""

    def __init__(self, room: int):
        self.room, self.spills, self.peak = room, 0, 0
        self.held: list[tuple[Array, Array]] = []
        self.folder: _Folder | None = None

    def add(self, keys: Array, weights: Array) -> None:
        self._noted(sum(len(k) for k, _ in self.held) + HELD * len(keys))
        self.held.append(summed(keys, weights))
        if sum(len(k) for k, _ in self.held) > self.room:
            self._join()
            if len(self.held[0][0]) > self.room // 2:
                self._spill()

    def _noted(self, pairs: int) -> None:
        self.peak = max(self.peak, PAIR * pairs)

    def _join(self) -> None:
        keys, weights = (np.concatenate(parts) for parts in zip(*self.held, strict=True))
        self._noted(HELD * len(keys))
        self.held = [summed(keys, weights)]

    def _spill(self) -> None:
        self.folder = self.folder or _Folder()
        for name, part in zip(("keys", "weights"), self.held[0], strict=True):
            np.save(self.folder.path / f"{name}-{self.spills}.npy", part, allow_pickle=False)
        self.held, self.spills = [], self.spills + 1

    def merged(self, size: int) -> tuple[Array, Any]:
        """(c,) CELL, both ways round, and the folder that they stand in."""
        if self.held:
            self._join()
        if not self.spills:
            made = [_both(*self.held[0], size)] if self.held else []
            return np.concatenate(made) if made else np.zeros(0, CELL), None
        if self.held:
            self._spill()
        assert self.folder is not None
        where = self.folder.path
        runs = [
            tuple(np.load(where / f"{name}-{i}.npy", mmap_mode="r") for name in ("keys", "weights"))
            for i in range(self.spills)
        ]
        with open(where / "cells", "wb") as file:
            at = [0] * len(runs)
            while any(begin < len(keys) for begin, (keys, _) in zip(at, runs, strict=True)):
                ends = _cut(runs, at, max(1, self.room // len(runs)))
                keys, weights = (
                    np.concatenate([run[i][a:b] for run, a, b in zip(runs, at, ends, strict=True)]) for i in (0, 1)
                )
                self._noted(HELD * len(keys))
                file.write(_both(*summed(keys, weights), size).tobytes())
                at = ends
        for i in range(self.spills):
            for name in ("keys", "weights"):
                (where / f"{name}-{i}.npy").unlink()
        return np.memmap(where / "cells", CELL, "r"), self.folder


def _cut(runs: list, at: list[int], each: int) -> list[int]:
    """Up to where each run is merged next: so many pairs of each at most, and all of them that lie below the least of what is left."""
    last = [
        keys[min(begin + each, len(keys)) - 1] for (keys, _), begin in zip(runs, at, strict=True) if begin < len(keys)
    ]
    bound = min(last)
    return [
        begin + int(np.searchsorted(keys[begin : begin + each], bound, "right"))
        for (keys, _), begin in zip(runs, at, strict=True)
    ]


def _both(keys: Array, weights: Array, size: int) -> Array:
    """Cells of pairs, both ways round; a word beside itself is one cell, and twice as much."""
    word, other = np.divmod(keys, size)
    alone = word == other
    found = np.empty(2 * len(keys) - int(alone.sum()), CELL)
    count = weights * (1 + alone) / UNIT
    for name, values in (
        ("word", (word, other[~alone])),
        ("other", (other, word[~alone])),
        ("count", (count, count[~alone])),
    ):
        found[name] = np.concatenate(values)
    return found
