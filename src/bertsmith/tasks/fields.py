"""Rows of .tsv and .csv files: what a field is."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator

from bertsmith.errors import InputError, printable
from bertsmith.tasks.lines import Lines


def tsv(lines: Lines, counts: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        if not line:
            counts["blank"] += 1
            continue
        yield number, [_unquoted(f) if f[:1] == '"' else f for f in line.split("\t")]


def _unquoted(value: str) -> str:
    """What a CSV writer quoted, or `value` itself: see the head of this file."""
    inside = value[1:-1]
    if len(value) > 3 and value[-1] == '"' and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return value


SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # besides commas


def separator(line: str, wanted: Iterable[str]) -> str:
    """What parts the columns of a .csv, by its first line: the comma, unless another one alone gives a column that is `wanted`."""
    wanted = set(wanted)
    for one in (",", *SEPARATORS):
        try:
            names = next(csv.reader([line], delimiter=one), [])
        except csv.Error:
            continue
        if len(names) > 1 and wanted & set(names):
            return one
    least = max((int(name) for name in wanted if name.isascii() and name.isdigit()), default=0)
    counts = {
        one: line.count(one) for one in SEPARATORS if least > 1 and "," not in line and line.count(one) >= least - 1
    }
    return max(counts, key=lambda one: counts[one], default=",")


def other(line: str, name: str, header: bool) -> str:
    """What a user should know of a line that was read as one column; "" where nothing seems to part it."""
    found = next((one for one in (",", *SEPARATORS) if one in line), None)
    if found is None:
        return ""
    part = "commas" if found == "," else SEPARATORS[found]
    if ".csv" not in name:
        return f"; {part} part no columns of a .tsv: name the file .csv" if found != "\t" else ""
    if header:
        return f"; {part} part its columns where --columns names one of them"
    return f"; {part} part columns below a header only: write one"


def csv_rows(lines: Lines, counts: dict[str, int], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line + "\n"

    limit = csv.field_size_limit(sys.maxsize >> 33)  # 1 GiB: texts are longer than the module's 128 KiB
    try:
        reader = csv.reader(texts(), strict=True, delimiter=delimiter)
        while True:
            start = last + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise InputError(f"{lines.name}:{start}: {_csv_problem(str(error))}") from None
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
