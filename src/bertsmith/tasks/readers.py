"""Labelled rows out of .tsv, .csv, .jsonl and .txt (each also .gz, .xz, .zst): named columns in, a Table out, every error with its line.

.jsonl (or .json with one object a line)   keys are the columns.
.csv    RFC 4180 quoting: a quoted field may hold commas, line breaks and doubled quotes.  Semicolons or bars that part the names of a
        header are taken for commas; a .csv whose first line holds tabs and no comma is read as .tsv.  Both are said.
.tsv    One line is one row and quotes are text (GLUE's files hold stray ones).  Only a field that nothing but a CSV writer makes is
        unquoted: it begins and ends with a quote and the quotes inside, at least one pair, are all doubled.
.txt    One text per line, no columns.

Lines end in \\n or \\r\\n, or all of them in \\r; no other character ends a line.  Columns are `text`, `text2` and `label` unless `columns` says otherwise:
`text=sentence,label=3` takes a name of the header or, where there is no such name, a 1-based number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks.fields import SEPARATORS, csv_rows, other, separator, tsv
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import Lines, standing

ROLES = ("text", "text2", "label")
PACKED = (".gz", ".xz", ".zst")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one file.  `columns[role][i]` stands at `line(i)`; counts hold what was skipped or ignored."""

    path: str | Given
    columns: dict[str, list[Any]]
    lines: list[int]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what a user should know; the caller says them

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, i: int) -> str:
        return standing(self.path, self.lines[i])

    def rows(self, role: str) -> list[Any] | None:
        return self.columns.get(role)

    @property
    def pairs(self) -> bool:
        return "text2" in self.columns

    def inputs(self) -> list[Hashable]:
        """What a model sees of each row."""
        return list(zip(*(self.columns[role] for role in ("text", "text2") if role in self.columns), strict=True))


def parse_columns(spec: str | Mapping[str, str | int] | None) -> dict[str, str]:
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
            raise InputError(f"--columns {printable(role)}: expected role=column, such as text=sentence,label=3")
        if role not in ROLES:
            raise InputError(f"--columns {printable(role)}: is not a column of this task; {nearest(role, ROLES)}")
        if role in chosen:
            raise InputError(f"--columns {role}: is given twice")
        chosen[role] = column
    return chosen


def read(
    path: str | Path | Given,
    *,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    required: tuple[str, ...] = ("text",),
) -> Table:
    """The columns `text`, `text2`, `label` that the file has; those of `required`, and those that `columns` names, it must have.

    Texts are str, without lone surrogates; labels are what the file holds (str; in .jsonl also int, float or bool).  No rows: InputError.
    """
    path = path if isinstance(path, Given) else Path(path)
    chosen = parse_columns(columns)
    suffix = suffix_of(path)
    lines = Lines(path)
    if suffix == ".txt":
        rows, table_notes, counts = _text(lines), [], {}
        if set(required) - {"text"}:
            raise InputError(
                f"{printable(path)}: a .txt holds texts only, and {required[-1]!r} is needed; use .tsv, .csv or .jsonl"
            )
        table = _collect(path, rows, ("text",), counts, table_notes)
    elif suffix in (".jsonl", ".json"):
        counts = {"blank": 0}
        table = _collect(path, _json(lines, chosen, required, counts), None, counts, [])
    elif suffix in (".tsv", ".csv"):
        table = _delimited(path, lines, suffix, chosen, header, required)
    else:
        raise InputError(
            f"{printable(path)}: unknown kind of file {printable(path.suffix)!r}; known: .tsv .csv .jsonl .txt, each also {' '.join(PACKED)}"
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


def _text(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        yield number, [line]


def _collect(path: Path | Given, rows, roles, counts: dict[str, int], notes: list[str]) -> Table:
    """`rows` yields (line number, values); `roles` names the values, or None where each row is a dict."""
    values: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, row in rows:
        pairs = row.items() if roles is None else zip(roles, row, strict=True)
        for role, value in pairs:
            values.setdefault(role, []).append(value)
        numbers.append(number)
    source = path if isinstance(path, Given) else str(path)
    return Table(path=source, columns=values, lines=numbers, counts=counts, notes=notes)


# -- JSON lines ---------------------------------------------------------------------------------------------------------------------


def _json(
    lines: Lines, chosen: dict[str, str], required: tuple[str, ...], counts: dict[str, int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    keys = {role: chosen.get(role, role) for role in ROLES}
    present: dict[
        str, bool
    ] = {}  # the first row decides whether optional columns are there; a later row that differs is an error
    for number, line in lines:
        where = lines.at(number)
        if not line.strip():
            counts["blank"] += 1
            continue
        row = json_object(line, where)
        if not present:
            present = {role: role in required or role in chosen or keys[role] in row for role in ROLES}
        found = {}
        for role, there in present.items():
            key = keys[role]
            if there != (key in row):
                if there:
                    raise InputError(
                        f"{where}: {printable(key)}: is missing; {nearest(key, row) if row else 'the object is empty'}; --columns {role}=NAME says which"
                    )
                raise InputError(f"{where}: {printable(key)}: is here but not in the rows before")
            if there:
                found[role] = row[key]
                if role != "label":
                    check_text(row[key], f"{where}: {printable(key)}")
                elif isinstance(row[key], (dict, list)) or row[key] is None:
                    raise InputError(
                        f"{where}: {printable(key)}: {kind_of(row[key])} is not a label; a string or a number is"
                    )
                elif isinstance(row[key], str):
                    check_text(row[key], f"{where}: {printable(key)}")
        yield number, found


def json_object(line: str, where: str) -> dict[str, Any]:
    def constant(name: str):
        raise InputError(f"{where}: {name} is not a number that JSON knows")

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise InputError(f"{where}: {printable(text, 40)} is beyond the range of numbers")
        return value

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(items)
        if len(row) != len(items):
            twice = next(k for i, (k, _) in enumerate(items) if k in dict(items[:i]))
            raise InputError(f"{where}: {printable(twice)}: stands twice in one object")
        return row

    try:
        row = json.loads(line, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)
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
        raise InputError(f'{where}: {kind_of(row)} where an object is expected, such as {{"text": "…", "label": "…"}}')
    return row


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


# -- tab- and comma-separated -------------------------------------------------------------------------------------------------------


def _delimited(
    path: Path, lines: Lines, suffix: str, chosen: dict[str, str], header: bool, required: tuple[str, ...]
) -> Table:
    notes, counts = [], {"blank": 0, "wide": 0}
    by = ","
    if suffix == ".csv":
        first = next(iter(lines), (1, ""))[1]
        by = separator(first, chosen.values() if chosen else ROLES) if header else ","
        if "\t" in first and "," not in first:
            suffix = ".tsv"
            notes.append(f"{printable(path)}: holds tabs and no comma in its first line: read as tab-separated")
        elif by != ",":
            notes.append(f"{printable(path)}: {SEPARATORS[by]} part the columns of its header: read so")
    records = tsv(lines, counts) if suffix == ".tsv" else csv_rows(lines, counts, by)
    names: list[str] | None = None
    if header:
        number, names = next(records, (1, None))
        if names is None:
            raise InputError(
                f"{printable(path)}: is empty; a header with the names of the columns is expected in line 1"
            )
        _check_header(names, f"{lines.name}:{number}")
    elif not chosen:
        raise InputError(
            f"{printable(path)}: without a header --columns must say where the texts stand, such as --columns text=1,label=2"
        )
    where = f"{lines.name}:1"
    places = {role: _place(role, chosen, names, where, header) for role in ROLES}
    places = {role: place for role, place in places.items() if place is not None or role in required}
    for role, place in places.items():
        if place is None:
            raise InputError(_missing(role, names, where))
    return _collect(path, _pick(lines.name, records, places, names, counts, notes), tuple(places), counts, notes)


def _check_header(names: list[str], where: str) -> None:
    for i, name in enumerate(names):
        if name in names[:i] and name:
            raise InputError(
                f"{where}: {printable(name)!r} names two columns ({names.index(name) + 1} and {i + 1}); --header no says that line 1 is data"
            )


def _place(role: str, chosen: dict[str, str], names: list[str] | None, where: str, header: bool) -> int | None:
    """0-based column of `role`, or None where it was not asked for and does not stand in the header."""
    column = chosen.get(role)
    if column is None:
        return names.index(role) if names and role in names else None
    if names and column in names:
        return names.index(column)
    if column.isascii() and column.isdigit():
        if int(column) < 1 or (names and int(column) > len(names)):
            raise InputError(
                f"--columns {role}={column}: columns are numbered from 1" + (f" to {len(names)}" if names else "")
            )
        if int(column) > 10_000:
            raise InputError(f"--columns {role}={printable(column, 40)}: no row has that many columns")
        return int(column) - 1
    if names is None:
        raise InputError(f"--columns {role}={printable(column)}: without a header a column is a number, from 1")
    raise InputError(
        f"{where}: no column {printable(column)!r}; {nearest(column, [printable(n, 40) for n in names][:20])}; --header no says that line 1 is data"
    )


def _missing(role: str, names: list[str] | None, where: str) -> str:
    if names is None:
        return f"--columns: {role!r} is needed; without a header give its number, such as {role}=1"
    shown = ", ".join(printable(n, 40) for n in names[:20])
    hint = other(names[0], where, header=True) if len(names) == 1 else ""
    return f"{where}: no column {role!r}; the header has: {shown}; --columns {role}=NAME says which, --header no that line 1 is data{hint}"


def _pick(
    name: str, records, places: dict[str, int], names: list[str] | None, counts: dict[str, int], notes: list[str]
):
    width = None if names is None else len(names)
    least = max(places.values()) + 1
    for number, fields in records:
        where = f"{name}:{number}"
        if names is not None and len(fields) != width:
            raise InputError(f"{where}: {len(fields)} columns but {width} in the header (line 1)")
        if len(fields) < least:
            role = max(places, key=lambda r: places[r])
            hint = other(fields[0], where, header=False) if len(fields) == 1 else ""
            raise InputError(f"{where}: {role}: {len(fields)} columns, and column {least} is asked for{hint}")
        width = width or len(fields)
        if len(fields) > width:
            counts["wide"] += 1
        yield number, [fields[place].strip() if role == "label" else fields[place] for role, place in places.items()]
    if counts["wide"]:
        notes.append(
            f"{name}: {counts['wide']} rows have more columns than the first; only columns {', '.join(str(p + 1) for p in places.values())} are read"
        )


def say_notes(table: Any, say: Callable[[str], None]) -> None:
    """What the reader noticed, and the lines it skipped."""
    for note in table.notes:
        say(note)
    if table.counts.get("blank"):
        say(f"{printable(table.path)}: {table.counts['blank']} blank lines skipped")
