"""Stores behind URLs, fetched into a folder of this machine once: its manifest first, then each file, whose hash must be the one in it.

    CACHE/stores/DIGEST/NAME      a store; DIGEST begins the SHA-256 of its manifest, so that another version stands beside it

A file appears whole under its name, the manifest last: a fetch that was killed goes on with what is missing.  Processes of one machine take turns
by a lock, and all but the first find what they want.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import amount, option
from bertsmith.text import remote
from bertsmith.text.checking import LATER

BLOCK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """`cache`, $BERTSMITH_CACHE, or bertsmith's part of where a user's caches are."""
    given = cache or os.environ.get("BERTSMITH_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(home) / "bertsmith"


def fetched(url: str, cache: str | os.PathLike | None = None, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder with the store of a URL, every file of it as its manifest says.  InputError for what is none, ResourceError where it cannot be
    reached or written."""
    url = url.rstrip("/")
    shown = printable(remote.shown(url))
    data = _manifest(url)
    listed = files.unsealed(data, f"{remote.shown(url)}/{files.MANIFEST}").get("files")
    if not isinstance(listed, dict) or not all(map(_plain, listed, listed.values())):
        raise InputError(f"{shown}/{files.MANIFEST}: files: expected plain names with bytes and sha256")
    name = re.sub(r"[^\w.-]+", "-", url.partition("::")[0].partition("?")[0].rpartition("/")[2]).strip(".-") or "store"
    folder = cache_folder(cache) / "stores" / hashlib.sha256(data).hexdigest()[:16] / name
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, shown, say):
        large = files.plain(folder / files.MANIFEST) == data and sum(of["bytes"] for of in listed.values()) >= LATER
        missing = [file for file in sorted(listed) if not _right(folder / file, listed[file], hashes=not large)]
        whole = sum(listed[file]["bytes"] for file in missing)
        free = shutil.disk_usage(folder).free
        if whole > free:
            raise ResourceError(
                f"{printable(folder)}: {amount(whole, 'byte')} of {shown} are to be fetched, {free:,} are free; free some space, or {option('cache', like='DIR')} names another place"
            )
        if missing:
            say(f"fetching {whole / 1e6:,.1f} MB of {shown} into {printable(folder)}")
        for file in missing:
            _fetch(_inside(url, file), folder / file, listed[file])
        if files.plain(folder / files.MANIFEST) != data:
            files.write(folder / files.MANIFEST, data)
    return folder


def _manifest(url: str) -> bytes:
    (found,) = _one(
        _inside(url, files.MANIFEST), f"{remote.shown(url)}: not a complete store: it has no {files.MANIFEST}"
    )
    data = found.head(files.LONGEST_MANIFEST + 1)
    if len(data) > files.LONGEST_MANIFEST:
        raise InputError(f"{printable(found.name)}: more than {amount(files.LONGEST_MANIFEST, 'byte')}")
    return data


def _inside(url: str, file: str) -> str:
    """A file of a folder, which may be in an archive."""
    first, mark, rest = url.partition("::")
    return f"{first.rstrip('/')}/{file}{mark}{rest}"


def _one(url: str, otherwise: str) -> list[remote.Remote]:
    try:
        found, folder = remote.listed(url)
    except InputError as error:
        if str(error).endswith("no such file or folder"):
            raise InputError(printable(otherwise, 300)) from None
        raise
    if folder:
        raise InputError(f"{printable(remote.shown(url))}: a folder, not a file")
    return [file for _, file in found[:1]]


def _plain(name: Any, expected: Any) -> bool:
    known = (
        isinstance(expected, dict)
        and isinstance(expected.get("bytes"), int)
        and isinstance(expected.get("sha256"), str)
    )
    return known and isinstance(name, str) and _NAME.fullmatch(name) is not None and name != files.MANIFEST


def _right(path: Path, expected: dict[str, Any], hashes: bool) -> bool:
    """Whether a file stands there already, to the byte; of a large store that is complete by its size: who opens it checks the rest."""
    try:
        right = path.stat().st_size == expected["bytes"]
        return right and (not hashes or files.sha256(path) == expected["sha256"])
    except OSError:
        return False


def _fetch(url: str, path: Path, expected: dict[str, Any]) -> None:
    """One file, whole or not at all."""
    where = printable(remote.shown(url))
    (found,) = _one(url, f"{remote.shown(url)}: missing; {files.MANIFEST} lists it")
    temporary, digest, size = path.with_name(f".{path.name}.tmp"), hashlib.sha256(), 0
    with files.writing(path), found.open() as stream:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            while data := stream.read(BLOCK):
                digest.update(data)
                size += len(data)
                files.append(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        right = size == expected["bytes"] and digest.hexdigest() == expected["sha256"]
        if not right:
            temporary.unlink()
            raise InputError(f"{where}: damaged: its {amount(size, 'byte')} are not what {files.MANIFEST} says")
        os.replace(temporary, path)
        files.sync(path.parent)


@contextmanager
def _alone(folder: Path, shown: str, say: Callable[[str], None]) -> Iterator[None]:
    """While no other process of this machine fetches the same."""
    with files.writing(folder):
        lock = os.open(folder.parent / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for the process that fetches {shown}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
