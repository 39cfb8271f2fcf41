"""A set of 64-bit hashes that grows on disk, in memory of a fixed size, whatever it holds.

The newest are in a Python set; when that is full they become a sorted file, and two files of about one size become one, so that a million
million hashes are some twenty files.  Bits of two places for each hash say what stands in none of the files, so that few are looked for there;
what is looked for is one block of a file, found by the first hash of each.  Nothing is lost and nothing is guessed: two different texts are
taken for one where all 64 bits agree, once among some six billion.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bertsmith import files
from bertsmith.text.writer import Row

Array = np.ndarray
MEMORY = 128_000_000  # bytes: half for the set, half for bits
EACH = 160  # bytes of a hash in a Python set, while its table grows
BLOCK = 512  # hashes of a file that are looked through at once
MANY = 1 << 14  # that are read at once where all are
NONE = np.zeros(0, np.uint64)


class Seen:
    """`folder`: where the files stand; they are its owner's to remove.  `older`: hashes that were seen before, as `save` wrote them.

    `memory`: bytes; `most`: hashes of the Python set."""

    def __init__(self, folder: Path, most: int | None = None, older: Path | None = None, memory: int | None = None):
        memory = memory or MEMORY
        self.folder, self.most = folder, most or max(1, memory // 2 // EACH)
        self.width = np.uint64(min(40, max(10, int(np.log2(memory * 4)))))  # of the places of bits: 2 ** width of them
        self.bits: Array | None = None
        self.fresh: set[int] = set()
        self.runs: list[Run] = []  # longest first
        self.made = 0
        self.older = [] if older is None else [Run.saved(older)]
        for run in self.older:
            for part in run:
                self._mark(part)

    def known(self, hashes: Array) -> Array:
        """(n,) bool"""
        found = np.fromiter(map(self.fresh.__contains__, hashes.tolist()), bool, len(hashes))
        if self.bits is None:
            return found
        open_ = np.flatnonzero(~found & self._marked(hashes))
        for run in (*self.older, *self.runs) if len(open_) else ():
            found[open_] |= run.holds(hashes[open_])
        return found

    def add(self, hashes: Array) -> None:
        self.fresh.update(hashes.tolist())
        if len(self.fresh) >= self.most:
            self._write()
            while len(self.runs) > 1 and self.runs[-2].count < 2 * self.runs[-1].count:
                self._join()

    def save(self, path: Path) -> None:
        """All of them, ascending, each once, as a .npy file."""
        self._write()
        while len(self.runs) > 1:
            self._join()
        one, other = ([iter(run) for run in (*self.older, *self.runs)] + [iter(())] * 2)[:2]
        with closing(Row(path, "<u8")) as row:
            for part in _merged(one, other):
                row.append(part)

    def close(self) -> None:
        for run in (*self.older, *self.runs):
            run.file.close()

    def _write(self) -> None:
        if self.fresh:
            hashes = np.sort(np.fromiter(self.fresh, np.uint64, len(self.fresh)))
            self._keep(iter([hashes]))
            self._mark(hashes)
            self.fresh.clear()

    def _join(self) -> None:
        """The two last runs become one."""
        longer, shorter = self.runs[-2:]
        del self.runs[-2:]
        self._keep(_merged(iter(longer), iter(shorter)))
        for run in (longer, shorter):
            run.file.close()
            run.path.unlink()

    def _keep(self, parts: Iterator[Array]) -> None:
        path = self.folder / f"hashes-{self.made}"
        self.made += 1
        firsts, count = [], 0
        with files.writing(path), open(path, "xb", buffering=0) as file:
            for part in parts:
                firsts.append(part[-count % BLOCK :: BLOCK])
                count += len(part)
                files.append(file.fileno(), memoryview(np.ascontiguousarray(part)).cast("B"))
        self.runs.append(Run(path, count, np.concatenate(firsts)))

    def _places(self, hashes: Array) -> tuple[Array, Array]:
        mask = (np.uint64(1) << self.width) - np.uint64(1)
        return hashes & mask, (hashes >> (np.uint64(64) - self.width)) & mask

    def _mark(self, hashes: Array) -> None:
        if self.bits is None:
            self.bits = np.zeros(1 << int(self.width) - 3, np.uint8)
        for places in self._places(hashes):
            np.bitwise_or.at(self.bits, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))

    def _marked(self, hashes: Array) -> Array:
        both = [
            self.bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)
            for places in self._places(hashes)
        ]
        return (both[0] & both[1] & np.uint8(1)).astype(bool)


class Run:
    """Hashes of a file, ascending.  `firsts`: the first of each block; `begin`: bytes before them."""

    def __init__(self, path: Path, count: int, firsts: Array, begin: int = 0):
        self.path, self.count, self.firsts, self.begin = path, count, firsts, begin
        self.file: BinaryIO = open(path, "rb", buffering=0)

    @classmethod
    def saved(cls, path: Path) -> "Run":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(path, len(array), np.array(array[::BLOCK]), os.path.getsize(path) - array.nbytes)

    def holds(self, hashes: Array) -> Array:
        """(n,) bool"""
        blocks = np.searchsorted(self.firsts, hashes, "right") - 1
        found = np.zeros(len(hashes), bool)
        for block in np.unique(blocks[blocks >= 0]).tolist():
            here = np.flatnonzero(blocks == block)
            there = self._read(block * BLOCK, BLOCK)
            found[here] = there[np.minimum(np.searchsorted(there, hashes[here]), len(there) - 1)] == hashes[here]
        return found

    def __iter__(self) -> Iterator[Array]:
        for start in range(0, self.count, MANY):
            yield self._read(start, MANY)

    def _read(self, start: int, many: int) -> Array:
        return np.frombuffer(os.pread(self.file.fileno(), 8 * many, self.begin + 8 * start), np.uint64)


def _merged(one: Iterator[Array], other: Iterator[Array]) -> Iterator[Array]:
    """Two ascending rows, in parts, as one; what both hold stands once."""
    a, b = next(one, NONE), next(other, NONE)
    while len(a) and len(b):
        upto = min(a[-1], b[-1])
        i, j = int(np.searchsorted(a, upto, "right")), int(np.searchsorted(b, upto, "right"))
        yield np.unique(np.concatenate([a[:i], b[:j]]))
        a = a[i:] if i < len(a) else next(one, NONE)
        b = b[j:] if j < len(b) else next(other, NONE)
    while len(a):
        yield a
        a = next(one, NONE)
    while len(b):
        yield b
        b = next(other, NONE)
