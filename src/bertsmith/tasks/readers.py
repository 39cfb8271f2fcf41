"""Labelled rows out of .tsv, .csv, .jsonl and .txt (each also .gz, .xz, .zst) and .parquet: named columns in, a Table out, every error
with its line.

.jsonl (or .json with one object a line)   keys are the columns; those of a .parquet are its own, and its rows count from 1.
.csv    RFC 4180 quoting: a quoted field may hold commas, line breaks and doubled quotes.
.tsv    One line is one row and quotes are text (GLUE's files hold stray ones).  Only a field that nothing but a CSV writer makes is
        unquoted: it begins and ends with a quote and the quotes inside, at least one pair, are all doubled.  Where all names of the
        header are quoted, quotes are those of a .csv.
.txt    One text per line, no columns.

What parts the columns of a .csv or .tsv is known by its first lines (commas, tabs, semicolons, bars) or by Excel's `sep=;`, and said where
it is not the usual one: with tabs a file is read as .tsv, with the others as .csv.

Lines end in \\n or \\r\\n, or all of them in \\r; no other character ends a line.  Columns are `text`, `text2` and `label` unless `columns` says otherwise:
`text=sentence,label=3` takes a name of the header or, where there is no such name, a 1-based number.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, near, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.delimited import delimited
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import PACKED_AS as PACKED
from bertsmith.tasks.lines import READ, Lines, check_there
from bertsmith.tasks.parquet import Parquet
from bertsmith.tasks.table import GROUPED, ROLES, TRIPLETS, Table, check_one, collect
from bertsmith.text.fields import SEPARATORS, parting

KINDS = {"\t": ".tsv", ",": ".csv", ";": ".csv", "|": ".csv"}


def parse_columns(spec: str | Mapping[str, str | int] | None, roles: tuple[str, ...] = ROLES) -> dict[str, str]:
    """`text=sentence,label=3` (or the same as a mapping) -> {role: name or number}."""
    if spec is None:
        return {}
    if isinstance(spec, str):
        pairs = [item.partition("=")[::2] for item in spec.split(",")]
    else:
        pairs = [(role, str(column)) for role, column in spec.items()]
    chosen: dict[str, str] = {}
    for role, column in pairs:
        role, column = role.strip(), column.strip()
        if not column:
            raise InputError(f"{option('columns', role)}: expected role=column, such as text=sentence,label=3")
        if role not in roles:
            raise InputError(f"{option('columns', role)}: is not a column of this task; {nearest(role, roles)}")
        if role in chosen:
            raise InputError(f"{option('columns', role)}: is given twice")
        if column in chosen.values():
            other = next(name for name, its in chosen.items() if its == column)
            raise InputError(
                f"{option('columns', f'{role}={column}')}: {other} is that column; a column is one of the two"
            )
        chosen[role] = column
    return chosen


def read(
    path: str | Path | Given,
    *,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    required: tuple[str, ...] = ("text",),
    encoding: str = "utf-8",
    roles: tuple[str, ...] = ROLES,
    lists: tuple[str, ...] = (),
) -> Table:
    """The columns `text`, `text2`, `label` that the file has; those of `required`, and those that `columns` names, it must have.

    `roles`: other columns in place of these, by their names; what they hold is left as the file has it.  `lists`: which may hold lists of
    texts, in .jsonl.
    Texts are str, without lone surrogates; labels are what the file holds (str; in .jsonl also int, float, bool or None).  No rows: InputError.
    """
    path = path if isinstance(path, Given) else Path(path)
    own = roles not in (ROLES, GROUPED, TRIPLETS)
    chosen = {**columns} if own and isinstance(columns, Mapping) else parse_columns(columns, ROLES if own else roles)
    for role in chosen:
        if role not in roles:
            raise InputError(f"{option('columns', role)}: is not a column of this task; {nearest(role, roles)}")
    suffix = suffix_of(path)
    if suffix not in READ or (isinstance(path, Path) and os.path.isdir(path)):
        check_there(path)
    lines: Any = Parquet(path) if suffix == ".parquet" and isinstance(path, Path) else Lines(path, encoding)
    if suffix == ".txt":
        rows, table_notes, counts = _text(lines), [], {}
        if own or set(required) - {"text"}:
            by = parting((line for _, line in lines), "\t", least=len(required))
            way = "use .tsv, .csv or .jsonl"
            if any(by in line for _, line in islice(lines, 1)):
                way = f"{SEPARATORS[by]} seem to part its columns: name it {KINDS[by]}"
            raise InputError(f"{printable(path)}: a .txt holds texts only, and {required[-1]!r} is needed; {way}")
        table = collect(path, rows, ("text",), counts, table_notes)
    elif suffix in (".jsonl", ".json", ".parquet"):
        counts = {"blank": 0}
        table = collect(path, _json(lines, chosen, required, counts, roles, lists), None, counts, [])
    elif suffix in (".tsv", ".csv"):
        table = delimited(path, lines, suffix, chosen, header, required, roles)
    else:
        what = f"unknown kind of file {printable(suffix)!r}" if suffix else "its name does not end with a kind of file"
        raise InputError(
            f"{printable(path)}: {what}; known: .tsv .csv .jsonl .txt, each also {' '.join(PACKED)}, and .parquet"
        )
    if not len(table):
        raise InputError(
            f"{printable(path)}: holds no rows" + (" below its header" if suffix in (".tsv", ".csv") and header else "")
        )
    return table


def suffix_of(path: Path | Given) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _text(lines: Any) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        yield number, [line]


# -- JSON lines ---------------------------------------------------------------------------------------------------------------------


def _json(
    lines: Any,
    chosen: dict[str, str],
    required: tuple[str, ...],
    counts: dict[str, int],
    roles: tuple[str, ...],
    lists: tuple[str, ...] = (),
) -> Iterator[tuple[int, dict[str, Any]]]:
    own = roles not in (ROLES, GROUPED, TRIPLETS)
    keys = {role: chosen.get(role, role) for role in roles}
    present: dict[
        str, bool
    ] = {}  # the first row decides whether optional columns are there; a later row that differs is an error
    taken = {keys[role] for role in chosen}
    for number, line in lines:
        where = lines.at(number)
        if not line.strip():
            counts["blank"] += 1
            continue
        row = json_object(line, where)
        if not present:
            check_one({role: keys[role] for role in roles if role in required or role in chosen}, where)
            present = {
                role: role in required or role in chosen or (keys[role] in row and keys[role] not in taken)
                for role in roles
            }
        found = {}
        for role, there in present.items():
            key = keys[role]
            if there != (key in row):
                if there:
                    way = "" if own else f"; {option('columns', f'{role}=NAME')} says which"
                    raise InputError(
                        f"{where}: {printable(key)}: is missing; {_instead(key, row, {*keys.values()})}{way}"
                    )
                raise InputError(f"{where}: {printable(key)}: is here but not in the rows before")
            if there:
                found[role] = row[key]
                if role in lists and isinstance(row[key], list):
                    for part in row[key]:
                        check_field(part, f"{where}: {printable(key)}")
                elif own:
                    check_field(row[key], f"{where}: {printable(key)}")
                elif role == "group":
                    check_field(row[key], f"{where}: {printable(key)}")
                elif role != "label":
                    check_text(row[key], f"{where}: {printable(key)}")
                elif isinstance(row[key], list):
                    raise InputError(
                        f"{where}: {printable(key)}: a list of labels, where one is expected; {option('task', 'multilabel')} reads several a row"
                    )
                elif isinstance(row[key], dict):
                    raise InputError(
                        f"{where}: {printable(key)}: {kind_of(row[key])} is not a label; a string or a number is"
                    )
                elif isinstance(row[key], str):
                    check_text(row[key], f"{where}: {printable(key)}")
        yield number, found


def _instead(key: str, row: Mapping[str, Any], read: set[str]) -> str:
    """What of a row may be meant by a key that it has not, but for those that are `read` as something else; else what there is."""
    found = near(key, [name for name in row if name not in read])
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    return f"the row has: {', '.join(map(printable, row))}" if row else "the object is empty"


DIGITS = 4300  # of a whole number, as many as Python reads


@dataclass(frozen=True)
class Huge:
    """A whole number of more digits, as it is written."""

    text: str


def _holds(value: Any) -> bool:
    return isinstance(value, Huge) or (isinstance(value, list) and any(map(_holds, value)))


def json_object(line: str, where: str) -> dict[str, Any]:
    def constant(name: str):
        raise InputError(f"{where}: {name} is not a number that JSON knows")

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise InputError(f"{where}: {printable(text, 40)} is beyond the range of numbers")
        return value

    def whole(text: str) -> Any:
        if len(text) > DIGITS:
            huge.append(Huge(text))
            return huge[-1]
        return int(text)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(items)
        name = next((key for key, value in items if _holds(value)), None) if huge else None
        if name is not None:
            raise InputError(
                f"{where}: {printable(name, 40)}: a whole number of {len(huge[0].text.lstrip('-')):,} digits; at most {DIGITS:,} are read"
            )
        if len(row) != len(items):
            twice = next(k for i, (k, _) in enumerate(items) if k in dict(items[:i]))
            raise InputError(f"{where}: {printable(twice)}: stands twice in one object")
        return row

    huge: list[Huge] = []
    try:
        row = json.loads(line, parse_constant=constant, parse_float=number, parse_int=whole, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise InputError(
                f"{where}: column {error.colno}: more than one JSON value; one object a line is allowed"
            ) from None
        hint = "; a JSON array is not read, write one object a line" if line.lstrip().startswith("[") else ""
        raise InputError(f"{where}: column {error.colno}: not JSON ({error.msg}){hint}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deep") from None
    except ValueError as error:
        raise InputError(f"{where}: {printable(error)}") from None
    if not isinstance(row, dict):
        row = 0 if isinstance(row, Huge) else row
        raise InputError(f'{where}: {kind_of(row)} where an object is expected, such as {{"text": "…", "label": "…"}}')
    return row


def check_field(value: Any, where: str) -> None:
    """InputError for what cannot stand in a text."""
    if isinstance(value, (list, dict)) or value is None:
        raise InputError(f"{where}: {kind_of(value)} where a text or a number is expected")
    if isinstance(value, str):
        check_text(value, where)


def check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{where}: {kind_of(value)} where a string is expected")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: character {error.start}: lone surrogate (\\u{ord(value[error.start]):04x}) is not text"
        ) from None


def kind_of(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]


def say_notes(table: Any, say: Callable[[str], None]) -> None:
    """What the reader noticed, and the lines it skipped."""
    for note in table.notes:
        say(note)
    if table.counts.get("blank"):
        say(f"{printable(table.path)}: {amount(table.counts['blank'], 'blank line')} skipped")
