"""TOML that a user wrote: read, and its tables checked.  Every message names the file, the table and the key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import an
from bertsmith.tasks.lines import check_there


def tree_of(path: Path, what: str, such: str, more: str = "") -> dict[str, Any]:
    """InputError for what is no TOML.  `what`: "a file of tasks", `such`: "tasks.toml", `more`: what stands in one."""
    where = printable(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{where}: no such file; {what} is wanted{more}") from None
    except IsADirectoryError:
        raise InputError(f"{where}: is a folder; {what} is wanted, such as {such}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start}: is not UTF-8, as TOML is") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        wrong, line = (said[1], f":{said[2]}" if said[2] else "") if said else (str(error), "")
        twice = re.fullmatch(r"Cannot declare \('(.*)', '(.*)'\) twice", wrong)
        if twice:
            raise InputError(
                f"{where}{line}: {printable(twice[1])}.{printable(twice[2])}: stands there twice; each {printable(twice[1])} has a name, and its head, of its own"
            ) from None
        raise InputError(f"{where}{line}: is not TOML: {printable(wrong)}") from None


def beside(path: Path, table: Mapping[str, Any], name: str) -> str:
    """A path of the file, from where it lies: of `data` and `store` a folder, of all else a file.  InputError where nothing is there."""
    value = table[name]
    if not isinstance(value, str) or not value:
        raise InputError(f"{name}: {printable(repr(value), 60)}: a path is wanted")
    found, folder = path.parent / value, name in ("data", "store")
    if not folder and found.is_dir():
        with within(name):
            check_there(found)
    if not (found.is_dir() if folder else found.is_file()):
        raise InputError(
            f"{name}: {printable(found)}: no such {'store' if folder else 'file'}; paths are taken from the folder of {printable(path.name)}"
        )
    return str(found)


def table_of(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        at = f"{name}: " if name else ""
        raise InputError(f"{at}{printable(repr(value), 60)} is {an(type(value).__name__)}, where a table is wanted")
    return value


def check_keys(
    table: Mapping[str, Any], known: tuple[str, ...], where: str = "", offered: tuple[str, ...] = ()
) -> None:
    """`offered`: those that an error names, where not all are of use."""
    for key in table:
        if key not in known:
            raise InputError(f"{where}{': ' * bool(where)}{printable(key)}: unknown; {nearest(key, offered or known)}")


@contextmanager
def within(where: str) -> Iterator[None]:
    """Errors name what they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
