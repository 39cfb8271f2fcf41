"""The store of frames: memory-mapped frames, where each utterance begins, a manifest with hashes.

A folder of plain .npy files (little endian, no objects), the same bytes for the same sounds and options:

    manifest.json            kind "frames", format, counts, account, sound, files with bytes and SHA-256, its own seal
    tokenizer.json           how sound becomes frames (mel.py)
    train-frames.npy         (n, b) float16 or float32, utterance after utterance
    train-utterances.npy     (u + 1,) uint64: frame offset of each utterance; the last entry is the number of frames
    train-names.jsonl        the name of each utterance's file, a JSON string a line
    held-out-...             the same for the utterances that training never sees
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith import files
from bertsmith.audio.mel import LogMel
from bertsmith.data.batch import Vocab
from bertsmith.errors import InputError, printable

KIND, FORMAT = "frames", 1
SPLITS = ("train", "held-out")
TOKENIZER = "tokenizer.json"
_OURS = re.compile(
    r"manifest\.json|tokenizer\.json|(train|held-out)-(frames|utterances)\.npy|(train|held-out)-names\.jsonl"
)


def ours(name: str) -> bool:
    """Whether a store of frames holds a file of this name."""
    return _OURS.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSplit:
    """One side of a store."""

    holds: ClassVar[str] = "frames"
    frames: np.ndarray  # (n, b), memory-mapped
    utterances: np.ndarray  # (u + 1,) int64
    names_at: Path | None = None

    @property
    def count(self) -> int:
        """Frames of the split."""
        return len(self.frames)

    @cached_property
    def names(self) -> list[str]:
        """(u,) of the files."""
        lines = [] if self.names_at is None else self.names_at.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def blind(self) -> float:
        """The mean absolute number of a frame: the loss of who says the mean of the utterance everywhere."""
        total = 0.0
        for at in range(0, len(self.frames), 1 << 16):
            total += float(np.abs(self.frames[at : at + (1 << 16)], dtype=np.float32).sum(dtype=np.float64))
        return total / max(1, self.frames.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameStore:
    """An opened store; nothing of it is in memory but what is read."""

    vectors: ClassVar[None] = None  # of entities: sound is linked to none
    path: Path
    manifest: dict[str, Any]
    digest: str  # SHA-256 of manifest.json, and so of everything
    tokenizer: LogMel
    train: FrameSplit
    held_out: FrameSplit

    def laid(self, layout: Any, smoothing: float = 1.0, lenient: bool = False, portions: tuple[float, ...] = ()) -> Any:
        """A layout as it reads this store: as it is."""
        if portions:
            raise InputError(f"training.shares: {printable(self.path)} holds sound, which has no languages")
        return layout

    @staticmethod
    def is_at(path: str | Path) -> bool:
        """Whether the manifest of a folder says so; a damaged one is told by who opens it."""
        try:
            data = files.plain(Path(path) / files.MANIFEST)
            return data is not None and files.unsealed(data, path).get("kind") == KIND
        except InputError:
            return False

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> FrameStore:
        """Check a store against its manifest, then map it.  InputError naming the file that is not as written."""
        path = Path(path)
        manifest = files.read_manifest(path, KIND, FORMAT)
        files.check(path, manifest.get("files"), hashes=verify)
        where, mel = printable(path / files.MANIFEST), LogMel.load(path / TOKENIZER)
        if mel is None:
            raise InputError(f"{printable(path / TOKENIZER)}: does not say how sound becomes frames")
        splits = {name: _split(path, name, mel, (manifest.get("splits") or {}).get(name), where) for name in SPLITS}
        digest = files.sha256(path / files.MANIFEST)
        return cls(
            path=path,
            manifest=manifest,
            digest=digest,
            tokenizer=mel,
            train=splits["train"],
            held_out=splits["held-out"],
        )

    @property
    def vocab(self) -> Vocab:
        return self.tokenizer.vocab

    def prospects(self) -> dict[str, float]:
        """What is lost without a look at the context."""
        return {"mean_frame_loss": self.train.blind}


def _split(path: Path, name: str, mel: LogMel, counts: Any, where: str) -> FrameSplit:
    frames, utterances = _map(path / f"{name}-frames.npy"), _map(path / f"{name}-utterances.npy")
    if frames.ndim != 2 or frames.dtype not in (np.float16, np.float32) or frames.shape[1] != mel.mels:
        raise InputError(
            f"{printable(path / f'{name}-frames.npy')}: expected rows of {mel.mels} numbers, found {frames.dtype} {frames.shape}"
        )
    if utterances.ndim != 1 or utterances.dtype != np.uint64:
        raise InputError(f"{printable(path / f'{name}-utterances.npy')}: expected a plain row of offsets")
    offsets = utterances.view(np.int64)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(frames) or (np.diff(offsets) <= 0).any():
        raise InputError(f"{printable(path / f'{name}-utterances.npy')}: the offsets do not fit the frames")
    if counts != {"frames": len(frames), "utterances": len(offsets) - 1}:
        raise InputError(f"{where}: splits: {name}: is not what the files hold")
    return FrameSplit(frames=frames, utterances=offsets, names_at=path / f"{name}-names.jsonl")


def _map(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: missing") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{printable(path)}: not a plain .npy file: {printable(error)}") from None


def verify(path: str | Path) -> dict[str, Any]:
    """Everything that `FrameStore.open` checks.  Returns {"kind", "files", "bytes"}."""
    listed = FrameStore.open(path).manifest["files"]
    for found in sorted(Path(path).iterdir()):
        if ours(found.name) and found.name != files.MANIFEST and found.name not in listed:
            raise InputError(f"{printable(found)}: not listed in {files.MANIFEST}; it does not belong to this store")
    return {"kind": "store", "files": len(listed) + 1, "bytes": sum(file["bytes"] for file in listed.values())}


class Growing:
    """A .npy file of rows that are appended, their number put into the header at the end."""

    def __init__(self, path: Path, dtype: str, width: tuple[int, ...] = ()):
        self.path, self.dtype, self.width, self.count = path, np.dtype(dtype), width, 0
        with files.writing(path):
            self.file = open(path, "xb", buffering=0)
            self._header()

    def _header(self) -> None:
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.width)}
        np.lib.format.write_array_header_1_0(self.file, header)  # leaves room for any length: always as many bytes

    def append(self, values: np.ndarray) -> None:
        self.count += len(values)
        with files.writing(self.path):
            left = memoryview(np.ascontiguousarray(values, self.dtype)).cast("B") if values.size else b""
            while len(left):
                left = left[self.file.write(left) :]

    def close(self) -> None:
        with files.writing(self.path):
            self.file.seek(0)
            self._header()
            self.file.close()


class SplitWriter:
    """One side of a store, utterance by utterance."""

    def __init__(self, folder: Path, name: str, mels: int, dtype: str):
        self.folder, self.name, self.names = folder, name, []
        self.frames = Growing(folder / f"{name}-frames.npy", {"float16": "<f2", "float32": "<f4"}[dtype], (mels,))
        self.ends = [0]

    def append(self, frames: np.ndarray, name: str) -> None:
        self.frames.append(frames)
        self.ends.append(self.frames.count)
        self.names.append(name)

    def close(self) -> dict[str, int]:
        """{frames, utterances}."""
        self.frames.close()
        ends = Growing(self.folder / f"{self.name}-utterances.npy", "<u8")
        ends.append(np.array(self.ends, "<u8"))
        ends.close()
        lines = "".join(json.dumps(name) + "\n" for name in self.names)
        files.create(self.folder / f"{self.name}-names.jsonl", lines.encode())
        return {"frames": self.frames.count, "utterances": len(self.names)}


def close_store(folder: Path, mel: LogMel, splits: dict[str, dict[str, int]], account: dict[str, Any]) -> None:
    """tokenizer.json, then the manifest, last."""
    files.create(folder / TOKENIZER, mel.json())
    names = sorted(path.name for path in folder.iterdir())
    manifest = {
        "format": FORMAT,
        "kind": KIND,
        "splits": splits,
        "account": account,
        "files": files.listing(folder, names),
    }
    files.create(folder / files.MANIFEST, files.sealed(manifest))
