"""Rows that are given in Python, as the lines of a file of JSON: a list of texts, of pairs of texts or of dicts, a dict of columns, a NumPy
array of texts (n,) or of pairs (n, 2), a Series or DataFrame of pandas.

Readers take a `Given` where they take a path, so that whatever holds for a file holds for it; its row i is called `name[i]`.
pandas is looked for among the modules that are loaded, never loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import an

WANTED = "a file, or rows: a list of texts, of pairs or of dicts, a NumPy array, a pandas Series or DataFrame"
TEXTS, PAIR = ("text", "text2", "label"), ("text", "text2")


@dataclass(frozen=True, eq=False)
class Given:
    """`str(given)` is its name, that of the argument."""

    name: str
    lines: list[str]  # an object each
    sha256: str  # of the fields that are read, whatever the columns are called and whatever else there is
    columns: dict[str, str] = field(default_factory=dict)  # which column is which field, where their names differ
    index: Any = None  # of a Series or DataFrame
    origin: str | None = None  # of a data set of the hub, its name
    notes: tuple[str, ...] = ()  # what a user should know of how it was read
    suffixes = (".jsonl",)

    def __str__(self) -> str:
        return self.name

    def where(self, number: int) -> str:
        return f"{self.name}[{number}]"


Source = str | Path | Given


def source(
    value: Any,
    name: str,
    columns: Mapping[str, str] | None = None,
    *,
    fields: tuple[str, ...] = TEXTS,
    pair: tuple[str, ...] = PAIR,
    strict: bool = True,
) -> Any:
    """A path as it is; anything else as `Given`.  InputError for what is neither.

    `fields`: what a row may have; `pair`: which of them a row without names gives, one (all that it is) or two.  `columns`: their names
    here; `strict`: where a column is not there, the field's own name is not taken instead.
    """
    if isinstance(value, (str, os.PathLike, Given)):
        return value
    named, rows, index = rows_of(value, name)
    keys = {role: (columns or {}).get(role, role) for role in fields}
    if not named:
        rows, keys = (
            [_unnamed(row, f"{name}[{i}]", pair, fields) for i, row in enumerate(rows)],
            {role: role for role in fields},
        )
    elif rows and not strict:
        keys = {role: role if key not in rows[0] and role in rows[0] else key for role, key in keys.items()}
    stands = {key: _column(key, list(rows[0]) if rows and named else []) for key in keys.values()}
    digest, lines = hashlib.sha256(), []
    for i, row in enumerate(rows):
        where = f"{name}[{i}]"
        found = {key: plain(row[at], f"{where}: {printable(key)}") for key, at in stands.items() if at in row}
        digest.update(json.dumps({role: found[key] for role, key in keys.items() if key in found}).encode() + b"\n")
        if keys[fields[0]] not in found:  # the error will name what is there
            found |= {str(key): None for key in row if key not in found}
        lines.append(json.dumps(found))
    renamed = {role: key for role, key in keys.items() if role != key}
    return Given(name, lines, digest.hexdigest(), renamed, index)


def _column(key: str, names: list[Any]) -> Any:
    """The name, or the column of that number, from 1, where there is no such name."""
    numbered = key not in names and key.isascii() and key.isdigit() and 0 < int(key) <= len(names)
    return names[int(key) - 1] if numbered else key


def plain(value: Any, where: str) -> Any:
    """As JSON has it: NumPy's numbers and arrays are numbers and lists, what is missing (NaN, NA) is null."""
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy
        value = value.tolist()
    if (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(part, where) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part, where) for part in value]
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    raise InputError(f"{where}: {kind_of(value)} where a text, a number or a list of them is expected")


def kind_of(value: Any) -> str:
    """`a list`, `an object`, `None`: what a user gave."""
    return "None" if value is None else an(type(value).__name__)


def rows_of(value: Any, name: str) -> tuple[bool, list[Any], Any]:
    """Whether the rows have names for what they hold, the rows, and their index where they are a table of pandas."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Series):
        return False, value.tolist(), value.index
    if pandas is not None and isinstance(value, pandas.DataFrame):
        columns = {str(column): value.iloc[:, i].tolist() for i, column in enumerate(value.columns)}
        return True, _across(columns, len(value)), value.index
    if isinstance(value, Mapping):
        return True, _table(value, name), None
    if hasattr(value, "to_dicts"):  # a DataFrame of polars
        return True, list(value.to_dicts()), None
    if getattr(value, "ndim", 1) not in (1, 2) or isinstance(value, (bytes, bytearray, AbstractSet)):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise InputError(f"{name}: {kind_of(value)}{shape} given; {WANTED} is wanted")
    try:
        rows = value.tolist() if hasattr(value, "tolist") else list(value)
    except TypeError:
        raise InputError(f"{name}: {kind_of(value)} given; {WANTED} is wanted") from None
    named = [isinstance(row, Mapping) for row in rows]
    if any(named) and not all(named):
        i = named.index(not named[0])
        raise InputError(f"{name}[{i}]: {kind_of(rows[i])}, where the rows before are {kind_of(rows[0])} each")
    return any(named), rows, None


def _across(columns: dict[str, list[Any]], count: int) -> list[dict[str, Any]]:
    return [{key: values[i] for key, values in columns.items()} for i in range(count)]


def _table(value: Mapping[Any, Any], name: str) -> list[dict[str, Any]]:
    """Rows of a dict of columns."""
    columns = {}
    for key, values in value.items():
        if isinstance(values, (str, bytes, Mapping, AbstractSet)) or not isinstance(values, Iterable):
            shown = printable(repr(key), 40)
            raise InputError(
                f"{name}: {shown}: {kind_of(values)} given; a dict holds columns, a list of values each; several rows are a list of dicts"
            )
        columns[str(key)] = list(values)
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise InputError(
            f"{name}: its columns have {', '.join(map(str, sorted(lengths)))} values; as many are wanted in each"
        )
    return _across(columns, *lengths or (0,))


def _unnamed(row: Any, where: str, pair: tuple[str, ...], fields: tuple[str, ...]) -> dict[str, Any]:
    if len(pair) == 1:
        return {pair[0]: row}
    if (isinstance(row, Sequence) and not isinstance(row, str)) or getattr(row, "ndim", 0) == 1:
        if len(row) != 2 or isinstance(row, bytes):
            raise InputError(
                f"{where}: {kind_of(row)} of {len(row)}; a text, a pair ({', '.join(pair)}) or a dict ({', '.join(fields)}) is wanted"
            )
        return dict(zip(pair, row, strict=True))
    return {pair[0]: row}
