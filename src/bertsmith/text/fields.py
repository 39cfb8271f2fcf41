"""Rows of .tsv and .csv files: what parts their columns, and what a field is."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from bertsmith.errors import InputError, printable


def tsv_rows(lines: Iterable[tuple[int, str]], counts: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        if not line:
            counts["blank"] += 1
            continue
        yield number, tsv_fields(line)


def tsv_fields(line: str) -> list[str]:
    return [_unquoted(f) if f[:1] == '"' else f for f in line.split("\t")]


def _unquoted(value: str) -> str:
    """What a CSV writer quoted, or `value` itself: see the head of tasks/readers.py."""
    inside = value[1:-1]
    if len(value) > 3 and value[-1] == '"' and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return value


SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
SAMPLE = 20  # lines that say what parts the columns
EXCEL = "sep="  # what Excel reads in the first line of a .csv: `sep=;`


def parting(lines: Iterable[str], usual: str, names: Iterable[str] = (), least: int = 1) -> str:
    """What parts the columns of a table, by its first lines: `usual`, unless it does not fit and another one does.

    `names`: one of them stands in a header that is parted rightly.  Otherwise all lines have the same number of columns, and `least` at
    least; where one column would do, several lines have to say that there are more, and commas are text.
    """
    sample, names = list(islice((line for line in lines if line.strip()), SAMPLE)), set(names)
    others = [one for one in SEPARATORS if one != usual]
    if not sample:
        return usual
    for one in (usual, *others):
        header = [name.strip() for name in _parted(sample[0], one)]
        if names & set(header) and (len(header) > 1 or one == usual):
            return one
    widths = {one: {len(_parted(line, one)) for line in sample} for one in SEPARATORS}
    same = {one: found.copy().pop() if len(found) == 1 else 0 for one, found in widths.items()}
    if same[usual] >= max(2, least):
        return usual
    more = [one for one in others if same[one] >= max(2, least)]
    if least == 1 and same[usual] == 1:
        more = [one for one in more if len(sample) > 4 and one != ","]
    if not more and "\t" in sample[0] and usual not in sample[0]:  # some rows have more columns than others
        return "\t"
    return more[0] if more else usual


def told(line: str) -> str | None:
    """What Excel's first line says: `sep=;`."""
    return next((one for one in SEPARATORS if line.strip("\ufeff\r\n").lower() == EXCEL + one), None)


def quoted(header: str) -> bool:
    """Whether a CSV writer quoted every name of a header that tabs part: then it quoted the texts, too."""
    return all(len(name) > 2 and name[0] == name[-1] == '"' for name in header.strip().split("\t"))


def _parted(line: str, one: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=one), [])
    except csv.Error:
        return line.split(one)


def csv_rows(
    name: str, lines: Iterable[tuple[int, str]], counts: dict[str, int], delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    start = 0  # the line in which a row begins

    def texts() -> Iterator[str]:
        nonlocal start
        for number, line in lines:
            start = start or number
            yield line + "\n"

    limit = csv.field_size_limit(sys.maxsize >> 33)  # 1 GiB: texts are longer than the module's 128 KiB
    try:
        reader = csv.reader(texts(), strict=True, delimiter=delimiter)
        while True:
            start = 0
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise InputError(f"{name}:{start}: {_csv_problem(str(error))}") from None
            if fields is None:
                return
            if not fields:
                counts["blank"] += 1
                continue
            yield start, fields
    finally:
        csv.field_size_limit(limit)


def _csv_problem(message: str) -> str:
    if "unexpected end of data" in message:
        return 'a quote opened in this row is never closed; a quote inside a quoted field is doubled ("")'
    if "expected after" in message:
        return 'text after a closing quote; a quote inside a quoted field is doubled ("")'
    return printable(message)
