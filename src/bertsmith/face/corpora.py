"""What `bertsmith.prepare` reads in Python: paths, and rows beside them: texts, dicts, tables of pandas or polars, whatever yields texts.

A list of strings names files where one of them looks like one: it is there, has a folder, an ending or a pattern in it, or is `hf:NAME`.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bertsmith.tasks.given import rows_of
from bertsmith.text.sources import Source

ENDING = re.compile(r"\S*\.[A-Za-z0-9]{1,8}")
LONGEST = 255  # characters of a name


def corpora(value: Any) -> list[str | Source]:
    """Paths as they are, rows as sources of that kind, in order.  TypeError or ValueError for what is neither, InputError for rows that are none."""
    if isinstance(value, (str, os.PathLike)):
        return [_path(value)]
    if _table(value):
        return [_rows(value, "rows")]
    parts = list(value)  # TypeError: no iterable
    strings = all(isinstance(part, (str, os.PathLike)) for part in parts)
    if parts and (all(isinstance(part, Mapping) for part in parts) or (strings and not any(map(_names_file, parts)))):
        return [_rows(parts, "rows")]
    found: list[str | Source] = []
    for part in parts:
        if isinstance(part, (str, os.PathLike)):
            found.append(_path(part))
        else:
            number = sum(isinstance(one, Source) for one in found) + 1
            found += [part] if isinstance(part, Source) else [_rows(part, f"rows {number}" if number > 1 else "rows")]
    return found


def _table(value: Any) -> bool:
    """A dict of columns, a DataFrame, a Series, an array."""
    return isinstance(value, Mapping) or any(hasattr(value, name) for name in ("iloc", "to_dicts", "ndim"))


def _rows(value: Any, name: str) -> Source:
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError
    return Source(name=name, kind="rows", rows=tuple(rows_of(value, name)[1]))


def _names_file(value: str | os.PathLike) -> bool:
    if not isinstance(value, str):
        return True
    if "\n" in value or len(value) > LONGEST:
        return False
    if value.startswith("hf:") or ENDING.fullmatch(value) or os.path.lexists(value):
        return True
    return not re.search(r"\s", value) and (os.sep in value or glob.has_magic(value))


def _path(value: str | os.PathLike) -> str:
    path = os.fspath(value)
    if "\0" in path or not path:
        raise ValueError
    return path
