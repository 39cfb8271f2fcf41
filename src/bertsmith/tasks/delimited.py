"""A table parted by tabs, commas, semicolons or bars: which column is which, with a header or without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.table import ROLES, Table, check_one, collect
from bertsmith.text.fields import SEPARATORS, csv_rows, parting, quoted, told, tsv_rows

TEXTS = {"text", "sentence", "review", "comment", "content", "tweet", "headline", "text_a", "sentence1", "question1"}
HEADERS = {"label", "labels", "class", "category", "target", "sentiment", "gold"}


def delimited(
    path: Path,
    lines: Lines,
    suffix: str,
    chosen: dict[str, str],
    header: bool,
    required: tuple[str, ...],
    roles: tuple[str, ...] = ROLES,
) -> Table:
    notes, counts = [], {"blank": 0, "wide": 0}
    numbers = [int(column) for column in chosen.values() if column.isascii() and column.isdigit() and len(column) < 6]
    least = max(len({*required, *chosen}), *numbers, 0)
    names = (chosen.get(role, role) for role in roles) if header else ()
    numbered, by = _parted(lines, {".tsv": "\t", ".csv": ","}[suffix], names, least, notes)
    plain = by == "\t" and not (header and quoted(next(iter(lines), (1, ""))[1]))
    records = tsv_rows(numbered, counts) if plain else csv_rows(lines.name, numbered, counts, by)
    if not header and not chosen:
        raise InputError(
            f"{printable(path)}: without a header {option('columns')} must say where the texts stand, such as {option('columns', 'text=1,label=2')}"
        )
    head = _head(path, lines.name, records) if header else None
    first = next(records, None)
    rows = chain([first], records) if first else iter(())
    if head and first and len(first[1]) != len(head.names):
        head = _other_width(head, chosen, first, lines.name, by, notes)
    places = {role: _place(role, chosen, head) for role in roles}
    places = {role: place for role, place in places.items() if place is not None or role in required}
    for role, place in places.items():
        if place is None:
            raise InputError(_missing(role, places, head))
    check_one(
        {role: at for role, at in places.items() if role in required or role in chosen},
        head.where if head else lines.name,
    )
    taken = {places[role] for role in chosen}
    places = {role: at for role, at in places.items() if role in required or role in chosen or at not in taken}
    table = collect(path, _pick(lines.name, rows, places, head, by, counts, notes), tuple(places), counts, notes)
    notes += _warnings(table, chosen, places, head) if len(table) else []
    return table


@dataclass(frozen=True)
class Head:
    """The first line of a table; `width`: columns of the rows, where the header has another number."""

    names: list[str]
    where: str
    width: int = 0


def _head(path: Path, name: str, records: Iterator[tuple[int, list[str]]]) -> Head:
    number, cells = next(records, (1, None))
    if cells is None:
        raise InputError(f"{printable(path)}: is empty; a header with the names of the columns is expected in line 1")
    return Head([cell.strip() for cell in cells], f"{name}:{number}")


def _parted(
    lines: Lines, usual: str, names: Iterable[str], least: int, notes: list[str]
) -> tuple[Iterator[tuple[int, str]], str]:
    """The lines of a table, and what parts their columns."""
    first = next(iter(lines), (1, ""))[1]
    said = told(first)
    by = said or parting((line for _, line in lines), usual, names, least)
    if by != usual:
        notes.append(f"{lines.name}: {SEPARATORS[by]} part its columns: read so")
    return islice(iter(lines), 1 if said else 0, None), by


def _other_width(
    head: Head, chosen: dict[str, str], first: tuple[int, list[str]], name: str, by: str, notes: list[str]
) -> Head:
    """The header of rows that have another number of columns: fine where all columns are given by number."""
    number, fields = first
    if not chosen or not all(column.isdigit() and column not in head.names for column in chosen.values()):
        told = _other_columns(f"{name}:{number}", fields, len(head.names), by, "in the header (line 1)")
        raise InputError(f"{told}; {option('columns', 'text=1,label=2')} counts them in the rows")
    notes.append(
        f"{head.where}: {amount(len(head.names), 'column')}, {len(fields)} in the rows below: numbers count in the rows"
    )
    return Head(head.names, head.where, len(fields))


def _other_columns(where: str, fields: list[str], width: int, by: str, than: str) -> str:
    hint = f"; a text with {SEPARATORS[by]} needs quotes around it" if by != "\t" and len(fields) > width else ""
    return f"{where}: {amount(len(fields), 'column')} but {width} {than}{hint}"


def _warnings(table: Table, chosen: dict[str, str], places: dict[str, int], head: Head | None) -> list[str]:
    """A first line that looks like data and is taken for a header, or the other way round; numbers that are names of other columns."""
    if head is None:
        label = table.columns.get("label", [""])[0]
        once = label.lower() in HEADERS and table.columns["label"].count(label) == 1
        like = f"is read as data, but its label, {label!r}, is like a header's; {option('header', True)} passes it over"
        return [f"warning: {table.where(0)}: {like}"] if once else []
    found = [
        f"warning: {option('columns', f'{role}={column}')} takes the column of that name, number {places[role] + 1}; {option('header', False)} says that line 1 is data"
        for role, column in chosen.items()
        if column.isdigit() and places[role] != int(column) - 1
    ]
    column = chosen.get("label", "")
    if column.isdigit() and column not in head.names and int(column) <= len(head.names):
        name = head.names[places["label"]]
        many = table.columns["label"].count(name) if name else 0
        like = f"is taken for a header, but {printable(repr(name), 40)} is the label of {amount(many, 'row')} too"
        found += [f"warning: {head.where}: {like}; {option('header', False)} reads it as data"] if many else []
    return found


def _place(role: str, chosen: dict[str, str], head: Head | None) -> int | None:
    """0-based column of `role`, or None where it was not asked for and does not stand in the header."""
    column, names = chosen.get(role), head.names if head else []
    wanted = role if column is None else column
    if head and wanted in names:
        if names.count(wanted) > 1:
            at = [i + 1 for i, name in enumerate(names) if name == wanted]
            shown = printable(repr(wanted), 40)
            raise InputError(
                f"{head.where}: {shown} names two columns ({at[0]} and {at[1]}); {option('columns', f'{role}={at[0]}')} says which"
            )
        return names.index(wanted)
    if column is None:
        return None
    if column.isascii() and column.isdigit():
        width = (head.width or len(names)) if head else 0
        if int(column) < 1 or (head and int(column) > width):
            raise InputError(
                f"{option('columns', f'{role}={column}')}: columns are numbered from 1"
                + (f" to {width}" if head else "")
            )
        if int(column) > 10_000:
            raise InputError(f"{option('columns', f'{role}={column}')}: no row has that many columns")
        return int(column) - 1
    if head is None:
        raise InputError(f"{option('columns', f'{role}={column}')}: without a header a column is a number, from 1")
    raise InputError(
        f"{head.where}: no column {printable(column)!r}; {nearest(column, [printable(n, 40) for n in names][:20])}; {option('header', False)} says that line 1 is data"
    )


def _missing(role: str, places: dict[str, int | None], head: Head | None) -> str:
    if head is None:
        return f"{option('columns')}: {role!r} is needed; without a header give its number, such as {role}=1"
    shown = ", ".join(printable(n, 40) for n in head.names[:20])
    guessed = {role: _guess(role, head.names) for role, place in places.items() if place is None}
    way = ",".join(f"{role}={name}" for role, name in guessed.items() if name) if guessed[role] else f"{role}=NAME"
    return f"{head.where}: no column {role!r}; the header has: {shown}; {option('columns', way)} says which, {option('header', False)} that line 1 is data"


def _guess(role: str, names: list[str]) -> str:
    """The one name that is often that of such a column; "" where none or several are."""
    known = {"text": TEXTS, "label": HEADERS}.get(role, {role})
    found = [name for name in names if name.lower() in known and names.count(name) == 1]
    return printable(found[0], 40) if len(found) == 1 else ""


def _pick(
    name: str,
    records: Iterable[tuple[int, list[str]]],
    places: dict[str, int],
    head: Head | None,
    by: str,
    counts: dict[str, int],
    notes: list[str],
):
    width = (head.width or len(head.names)) if head else 0
    than = "in the header (line 1)" if head and not head.width else "in the first row"
    least = max(places.values()) + 1
    for number, fields in records:
        where = f"{name}:{number}"
        if head and len(fields) != width:
            raise InputError(_other_columns(where, fields, width, by, than))
        if len(fields) < least:
            role = max(places, key=lambda r: places[r])
            raise InputError(f"{where}: {role}: {amount(len(fields), 'column')}, and column {least} is asked for")
        width = width or len(fields)
        if len(fields) > width:
            counts["wide"] += 1
        yield number, [fields[place].strip() if role == "label" else fields[place] for role, place in places.items()]
    if counts["wide"]:
        notes.append(
            f"{name}: {amount(counts['wide'], 'row has', 'rows have')} more columns than the first; only columns {', '.join(str(p + 1) for p in places.values())} are read"
        )
