"""A file that a verb writes where its user says: what may not stand there, and whether something is replaced."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.tuned import RESULT
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.training.run import CONFIG


def check_apart(out: Any, input: Any = None, **others: Any) -> None:
    """InputError where what is written to `out` would replace what is read, or what the same call writes to one of `others`, {option: path},
    however the places are spelled; and where one of those is what is read."""
    written = {"out": out, **others}
    places = {name: Path(place) for name, place in written.items() if place is not None}
    read = Path(input) if isinstance(input, (str, os.PathLike)) else None
    for number, (name, place) in enumerate(places.items()):
        if read is not None and _one(place, read):
            raise InputError(f"{printable(place)}: {option(name)} is the input file; choose another place")
        for other in [*places][:number]:
            if _one(place, places[other]):
                raise InputError(
                    f"{printable(place)}: {option(other)} and {option(name)} are one file; choose another place for one of them"
                )


def _one(a: Path, b: Path) -> bool:
    """Whether two paths lead to one file, which need not be there yet."""
    return os.path.realpath(a) == os.path.realpath(b) or (a.exists() and b.exists() and os.path.samefile(a, b))


def check_file(out: Path, example: str) -> bool:
    """Whether a file stands at `out`, which will be replaced.  `example`: a name for one.

    InputError for a folder or a device, where the folder is missing, and for a place inside a store, a run or an export.
    """
    where, place = printable(out), out.resolve()
    owner = next((folder for folder in (place, *place.parents) if _ours(folder)), None)
    if owner is not None:
        lies = "is" if owner == place else f"lies in {printable(owner)},"
        raise InputError(f"{where}: {option('out')} {lies} a store, run or export; choose another place")
    if out.is_dir():
        raise InputError(f"{where}: {option('out')} is a folder; name a file, such as {printable(out / example)}")
    if os.path.lexists(place.parent) and not place.parent.is_dir():
        raise InputError(
            f"{where}: {printable(out.parent)} is a file, and nothing can stand in it; choose another place"
        )
    if not place.parent.is_dir():
        raise InputError(f"{where}: there is no folder {printable(out.parent)}; make it first")
    if os.path.lexists(place) and not place.is_file():
        raise InputError(f"{where}: {option('out')} is not a plain file; choose another place")
    files.check_place(place, folder=False)
    return place.is_file()


def check_lines(out: Path, example: str) -> bool:
    """As `check_file`; InputError, too, where what stands there is not lines of JSON as ours, {"index": …}."""
    there = check_file(out, example)
    if there and not _is_lines(out):
        raise InputError(
            f"{printable(out)}: stands here and is not what was written of rows before; choose another place"
        )
    return there


def _is_lines(path: Path) -> bool:
    """Whether the first line of a file says which row it is about, or there is none."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    return not line.strip() or line.startswith(b'{"index": ')


def check_kept(out: Path, kind: str) -> None:
    """InputError where a file that is no `kind` ("probe", "surface") of ours stands at `out`, and as `check_file` has it."""
    if check_file(out, f"{kind}.json") and not is_kept(out, kind):
        raise InputError(f"{printable(out)}: stands here and is no {kind} of ours; {option('out')} says where it goes")


def is_kept(path: Path, kind: str) -> bool:
    """Whether a file is what the verb `kind` keeps."""
    try:
        data = files.plain(path)
        return data is not None and files.unsealed(data, path).get("kind") == kind
    except InputError:
        return False


def read_kept(path: Path, kind: str, newest: int) -> dict[str, Any]:
    """What the verb `kind` kept, in a format up to `newest`.  InputError for anything else."""
    if not is_kept(path, kind):
        raise InputError(f"{printable(path)}: is no {kind}, or is damaged; `bertsmith {kind} … --out FILE` writes one")
    found = files.unsealed(files.plain(path) or b"", path)
    if found.get("format", math.inf) > newest:
        raise InputError(f"{printable(path)}: was written by a newer bertsmith; update to read it")
    return found


def _ours(folder: Path) -> bool:
    """Whether a manifest, or what stands in its place in a run, says so."""
    return any(_sealed(folder / name) for name in (files.MANIFEST, CONFIG, RESULT))


def _sealed(path: Path) -> bool:
    try:
        data = files.plain(path)
        return data is not None and bool(files.unsealed(data, path))
    except InputError:
        return False
