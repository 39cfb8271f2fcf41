"""Units on disk: a folder with a manifest that appears whole, or not at all.  Documents are JSON lines [last, paragraphs, language]."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag
from bertsmith.text.account import Account
from bertsmith.text.corpus import Document

FORMAT = 1


def place(work: Path, stage: str, number: int) -> Path:
    return work / stage / f"{number:06d}"


@contextmanager
def unit(final: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder to fill, and what its manifest is to say of it; when the block ends it stands at `final`, if none was faster."""
    temporary = final.with_name(f".{final.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    begun = time.monotonic()
    with files.writing(final):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        said: dict[str, Any] = {}
        yield temporary, said
        with files.writing(final):
            names = sorted(path.name for path in temporary.iterdir())
            for name in names:
                files.sync(temporary / name)
            spent = {"seconds": time.monotonic() - begun, "peak": peak()}
            about = {"kind": "unit", "format": FORMAT, **said, "spent": spent, "files": files.listing(temporary, names)}
            files.create(temporary / files.MANIFEST, files.sealed(about))
            files.sync(temporary)
            try:
                os.rename(temporary, final)
            except OSError:
                if not final.is_dir():
                    raise
            files.sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def peak() -> float:
    """Megabytes that this process had in memory at most; where Linux does not say, those of whoever started it may be among them."""
    try:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def done(final: Path, checked: bool = False) -> dict[str, Any] | None:
    """The manifest of a unit; None where it is not made, or (`checked`) where a file of it is not as written."""
    data = files.plain(final / files.MANIFEST)
    if data is None:
        return None
    try:
        about = files.unsealed(data, final / files.MANIFEST)
        if checked:
            files.check(final, about["files"])
    except InputError:
        if checked:
            return None
        raise
    return about


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Documents of one source.  `path`: of their file, from the work folder; `first`: the number of the first in the corpus; `place`: in its source."""

    path: str
    source: int
    first: int
    place: int
    documents: int
    bytes: int


def write_index(path: Path, units: list[Unit]) -> None:
    files.write(path, files.sealed({"units": [asdict(one) for one in units]}))


def index(path: Path) -> list[Unit]:
    data = files.plain(path)
    if data is None:
        raise InputError(f"{printable(path)}: missing; without {flag('resume')} all begins anew")
    return [Unit(**one) for one in files.unsealed(data, path)["units"]]


def rows(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def documents(work: Path, units: list[Unit]) -> Iterator[Document]:
    """Those of units, in order."""
    for one in units:
        number = one.first
        for last, paragraphs, language in rows(work / one.path):
            size = sum(map(len, paragraphs))
            yield Document(number, paragraphs, last, size, place=one.place + number - one.first, language=language)
            number += last


class Cut:
    """Writes documents into files of about `unit` characters, which end where a document does."""

    def __init__(self, folder: Path, unit: int):
        self.folder, self.unit, self.files = folder, unit, []
        self.file: BinaryIO | None = None
        self.size = self.documents = 0

    def add(self, paragraphs: list[str], last: bool, language: str) -> None:
        if self.file is None:
            self.name = f"{len(self.files):06d}.jsonl"
            self.file = open(self.folder / self.name, "xb")
            self.documents = self.size = 0
        self.file.write(json.dumps([last, paragraphs, language], ensure_ascii=False).encode() + b"\n")
        self.documents += last
        self.size += sum(map(len, paragraphs)) + 16
        if last and self.size >= self.unit:
            self.close()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.files.append((self.name, self.documents, os.path.getsize(self.folder / self.name)))
            self.file = None


def added(accounts: list[dict[str, Any]]) -> Account:
    """Accounts of parts as that of the whole."""
    whole = Account()
    for account in accounts:
        for field in fields(Account):
            mine, more = getattr(whole, field.name), account[field.name]
            if isinstance(mine, dict):
                for key, count in more.items():
                    mine[key] = mine.get(key, 0) + count
            else:
                setattr(whole, field.name, mine + more)
    return whole
