"""Writes a token store, append by append; see store.py for the format."""

from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.data.draw import hashed, uniform
from bertsmith.text.store import FORMAT, ROLES, SHARD, Split, _map

PLAIN, GROWN = 1, FORMAT


def aside(numbers: np.ndarray, holdout: float) -> np.ndarray:
    """(n,) bool: which documents of a corpus are held out, by their numbers in it."""
    return uniform(hashed(0, "held-out", numbers)) < holdout


class Row:
    """A .npy file that grows: one row of a plain type, its length put into the header at the end."""

    def __init__(self, path: Path, dtype: str):
        self.path, self.dtype, self.count = path, np.dtype(dtype), 0
        with files.writing(path):
            self.file = open(
                path, "xb", buffering=0
            )  # what is appended is large; nothing is left to write when it fails
            self._header()

    def _header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.file, header)  # leaves room for any length: always as many bytes

    def append(self, values: np.ndarray) -> None:
        self.count += len(values)
        with files.writing(self.path):
            left = memoryview(np.ascontiguousarray(values, self.dtype)).cast("B") if len(values) else b""
            while len(left):
                left = left[self.file.write(left) :]

    def close(self) -> None:
        with files.writing(self.path):
            if not self.file.closed:
                self.file.seek(0)
                self._header()
                self.file.close()


class SplitWriter:
    """One side of a store.  `after`: what stands there already, whose shards lie in `folder`, as the split and its unigrams."""

    def __init__(
        self,
        folder: Path,
        name: str,
        vocab: int,
        shard: int = SHARD,
        capitals: bool = False,
        after: tuple[Split, np.ndarray] | None = None,
    ):
        self.folder, self.name, self.vocab, self.shard, self.capitals = folder, name, vocab, shard, capitals
        self.dtype = "<u2" if vocab < 65536 else "<u4"
        self.unigrams = np.zeros(vocab, np.int64)
        self.tokens = self.sentences = self.documents = self._ended = 0
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._waits = self.shards = 0
        self._ids = self._starts = self._capitals = None
        self._sentences = Row(folder / f"{name}-sentences.npy", "<u8")
        self._documents = Row(folder / f"{name}-documents.npy", "<u8")
        if after is None:
            self._sentences.append(np.zeros(1))
            self._documents.append(np.zeros(1))
        else:
            self._stand(*after)
        self.before = self.shards, self.tokens, self.sentences, self.documents
        self._next_shard()

    def _stand(self, old: Split, unigrams: np.ndarray) -> None:
        for row, offsets in ((self._sentences, old.sentences), (self._documents, old.documents)):
            for start in range(0, len(offsets), 1 << 20):
                row.append(offsets[start : start + (1 << 20)])
        self.unigrams += unigrams
        self.tokens, self.sentences, self.documents = old.count, len(old.sentences) - 1, len(old.documents) - 1
        self.shards, self._ended = len(old.shards), self.sentences

    def append(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        ends: np.ndarray,
        capitals: np.ndarray | None = None,
    ) -> None:
        """`ids` (n,) of whole sentences of `lengths` (k,) tokens, none 0; `ends`: how many of the k precede the end of each document
        that ends here, ascending.  A document without a sentence does not count."""
        ends = self.sentences + np.asarray(ends, np.int64)
        ends = ends[np.diff(ends, prepend=self._ended) > 0]
        self._documents.append(ends)
        self._sentences.append(self.tokens + np.cumsum(lengths, dtype=np.int64))
        self.unigrams += np.bincount(ids, minlength=self.vocab)
        self.tokens += len(ids)
        self.sentences += len(lengths)
        self.documents += len(ends)
        self._ended = int(ends[-1]) if len(ends) else self._ended
        self._waiting.append((ids, starts, capitals) if capitals is not None and self.capitals else (ids, starts))
        self._waits += len(ids)
        if self._waits >= 1 << 20:
            self._flush()

    def _flush(self, last: bool = False) -> None:
        if not self._waiting:
            return
        ids, *bits = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        while True:
            room = self.shard - self._ids.count
            whole = min(len(ids) if last else len(ids) & ~7, room)  # eights, so that bytes of word starts are full
            self._ids.append(ids[:whole])
            for row, marks in zip(self._bits, bits, strict=True):
                row.append(np.packbits(marks[:whole]))
            ids, bits = ids[whole:], [marks[whole:] for marks in bits]
            if self._ids.count < self.shard or not len(ids):
                break
            self._close_shard()
            self._next_shard()
        self._waiting, self._waits = [(ids, *bits)], len(ids)

    def _next_shard(self) -> None:
        self._ids = Row(self.folder / f"{self.name}-{self.shards:05d}.npy", self.dtype)
        self._starts = Row(self.folder / f"{self.name}-starts-{self.shards:05d}.npy", "|u1")
        if self.capitals:
            self._capitals = Row(self.folder / f"{self.name}-capitals-{self.shards:05d}.npy", "|u1")
        self.shards += 1

    @property
    def _bits(self) -> list[Row]:
        return [self._starts, self._capitals] if self.capitals else [self._starts]

    def _close_shard(self) -> None:
        for row in (self._ids, *self._bits):
            row.close()

    def close(self) -> dict[str, int]:
        """Finish the files; the counts that the manifest says of this split."""
        self._flush(last=True)
        if self._ended < self.sentences:
            raise ValueError("the last document was not ended")
        for row in (self._ids, *self._bits, self._sentences, self._documents):
            row.close()
        if self.before[0] and self.tokens == self.before[1]:  # nothing came behind the old shards
            self.shards -= 1
            for row in (self._ids, *self._bits):
                row.path.unlink()
        return {"tokens": self.tokens, "sentences": self.sentences, "documents": self.documents, "shards": self.shards}

    def abandon(self) -> None:
        """Close the files as they are."""
        for row in (self._ids, *self._bits, self._sentences, self._documents):
            row.file.close()

    def split(self) -> Split:
        """What was written (after `close`), mapped."""
        shards = tuple(_map(self.folder, f"{self.name}-{i:05d}.npy", "u") for i in range(self.shards))
        packed = tuple(_map(self.folder, f"{self.name}-starts-{i:05d}.npy", "u") for i in range(self.shards))
        offsets = (
            _map(self.folder, f"{self.name}-{what}.npy", "u").view(np.int64) for what in ("sentences", "documents")
        )
        names = [f"{self.name}-capitals-{i:05d}.npy" for i in range(self.shards) if self.capitals]
        capital = tuple(_map(self.folder, name, "u") for name in names)
        bounds = {"sentences": next(offsets), "documents": next(offsets)}
        return Split(shards=shards, packed=packed, **bounds, shard=self.shard, capital=capital)

    def names(self) -> list[str]:
        numbered = [f"{self.name}-{i:05d}.npy" for i in range(self.shards)] + [
            f"{self.name}-starts-{i:05d}.npy" for i in range(self.shards)
        ]
        numbered += [f"{self.name}-capitals-{i:05d}.npy" for i in range(self.shards) if self.capitals]
        return [*numbered, f"{self.name}-sentences.npy", f"{self.name}-documents.npy"]


def move_document(
    folder: Path, source: SplitWriter, number: int, other: SplitWriter
) -> tuple[SplitWriter, SplitWriter]:
    """Give document `number` of a closed `source` to the closed, empty `other`; both are written anew."""
    aside = folder / "aside"
    with files.writing(aside):
        aside.mkdir()
        for name in source.names():
            (folder / name).rename(aside / name)
        for name in other.names():
            (folder / name).unlink()
    source.folder = aside
    whole = source.split()
    new = [SplitWriter(folder, writer.name, writer.vocab, writer.shard, writer.capitals) for writer in (source, other)]
    documents = len(whole.documents) - 1
    for writer, first, last in ((new[0], 0, number), (new[1], number, number + 1), (new[0], number + 1, documents)):
        for start in range(first, last, 4096):
            _copy(whole, start, min(start + 4096, last), writer)
    for writer in new:
        writer.close()
    with files.writing(aside):
        for path in aside.iterdir():
            path.unlink()
        aside.rmdir()
    return new[0], new[1]


def _copy(split: Split, first: int, last: int, writer: SplitWriter) -> None:
    """Documents first..last, some sentences at a time."""
    ends = split.documents[first + 1 : last + 1]
    start, stop = int(split.documents[first]), int(split.documents[last])
    for a in range(start, stop, 1 << 16):
        b = min(a + (1 << 16), stop)
        tokens = slice(int(split.sentences[a]), int(split.sentences[b]))
        inside = ends[(ends > a) & (ends <= b)] - a
        capitals = split.capitals(np.arange(tokens.start, tokens.stop)) if writer.capitals else None
        sizes = np.diff(split.sentences[a : b + 1])
        writer.append(split.gather(tokens), split.starts(tokens), sizes, inside, capitals)


def close_store(
    folder: Path,
    splits: list[SplitWriter],
    tokenizer: dict[str, Any],
    rest: dict[str, Any],
) -> dict[str, Any]:
    """Write unigrams.npy and, last, the manifest; returns the manifest.  The tokenizer is saved in `folder` already; `tokenizer`: see below."""
    unigrams = Row(folder / "unigrams.npy", "<i8")
    unigrams.append(splits[0].unigrams)
    unigrams.close()
    counts = {
        w.name: {"tokens": w.tokens, "sentences": w.sentences, "documents": w.documents, "shards": w.shards}
        for w in splits
    }
    names = sorted(path.name for path in folder.iterdir())
    manifest = {
        "kind": "store",
        "format": GROWN if any(writer.before[0] for writer in splits) else PLAIN,
        "shard": splits[0].shard,
        "splits": counts,
        "tokenizer": tokenizer,
        **rest,
        "files": files.listing(folder, names),
    }
    files.write(folder / files.MANIFEST, files.sealed(manifest))
    return manifest


def tokenizer_field(tokenizer: Any, kind: str) -> dict[str, Any]:
    """What the manifest says of a tokenizer: its kind, size, digest and special roles."""
    vocab = tokenizer.vocab
    roles = {role: {"id": int(getattr(vocab, role)), "token": tokenizer.token(getattr(vocab, role))} for role in ROLES}
    return {
        "kind": kind,
        "size": int(vocab.size),
        "digest": tokenizer.digest,
        "roles": roles,
        "special": [int(i) for i in vocab.special],
        **({"sentinels": list(vocab.sentinels)} if vocab.sentinels else {}),
        **({"letters": list(vocab.letters)} if vocab.letters else {}),
    }
