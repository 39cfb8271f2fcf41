"""A set of 64-bit hashes that grows on disk: memory stays the same, whatever it holds.

The newest are in a Python set; when that is full they become a sorted file, and two files of about one size become one, so that a million
million hashes are some twenty files.  Nothing is lost and nothing is guessed: two different texts are taken for one where all 64 bits
agree, once among some six billion.
"""

from contextlib import closing
from pathlib import Path

import numpy as np

from bertsmith import files
from bertsmith.text.writer import Row

Array = np.ndarray
FRESH = 1 << 19  # hashes in memory: some 40 MB
BLOCK = 1 << 19  # merged at once


class Seen:
    """`folder`: where the files stand; they are its owner's to remove.  `older`: hashes that were seen before, as `save` wrote them."""

    def __init__(self, folder: Path, most: int | None = None, older: Path | None = None):
        self.folder, self.most = folder, most or FRESH
        self.older = np.load(older, mmap_mode="r", allow_pickle=False) if older else np.zeros(0, np.uint64)
        self.fresh: set[int] = set()
        self.runs: list[tuple[Path, Array]] = []  # longest first
        self.made = 0

    def known(self, hashes: Array) -> Array:
        """(n,) bool"""
        found = np.fromiter(map(self.fresh.__contains__, hashes.tolist()), bool, len(hashes))
        for run in (*([self.older] if len(self.older) else []), *(run for _, run in self.runs)):
            found |= run[np.minimum(np.searchsorted(run, hashes), len(run) - 1)] == hashes
        return found

    def add(self, hashes: Array) -> None:
        self.fresh.update(hashes.tolist())
        if len(self.fresh) >= self.most:
            self._write()
            while len(self.runs) > 1 and len(self.runs[-2][1]) < 2 * len(self.runs[-1][1]):
                self._join()

    def save(self, path: Path) -> None:
        """All of them, ascending, each once, as a .npy file."""
        self._write()
        while len(self.runs) > 1:
            self._join()
        runs = [self.older, *(run for _, run in self.runs)]
        with closing(Row(path, "<u8")) as row:
            for part in _merged(*([run for run in runs if len(run)] + [np.zeros(0, np.uint64)] * 2)[:2]):
                row.append(part)

    def _write(self) -> None:
        if self.fresh:
            self._keep([np.sort(np.fromiter(self.fresh, np.uint64, len(self.fresh)))])
            self.fresh.clear()

    def _join(self) -> None:
        """The two last runs become one."""
        (path, longer), (other, shorter) = self.runs[-2:]
        del self.runs[-2:]
        self._keep(_merged(longer, shorter))
        path.unlink()
        other.unlink()

    def _keep(self, parts) -> None:
        path = self.folder / f"hashes-{self.made}"
        self.made += 1
        with files.writing(path), open(path, "xb", buffering=0) as file:
            for part in parts:
                files.append(file.fileno(), memoryview(np.ascontiguousarray(part)).cast("B"))
        self.runs.append((path, np.memmap(path, np.uint64, "r")))


def _merged(a: Array, b: Array):
    """Two sorted rows as one, in blocks; what both hold stands once."""
    at = 0
    for start in range(0, len(a), BLOCK):
        end = min(start + BLOCK, len(a))
        upto = len(b) if end == len(a) else int(np.searchsorted(b, a[end - 1], "right"))
        yield np.unique(np.concatenate([a[start:end], b[at:upto]]))
        at = upto
