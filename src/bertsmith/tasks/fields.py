"""Rows of .tsv and .csv files: what a field is."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

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


def csv_rows(lines: Lines, counts: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line + "\n"

    limit = csv.field_size_limit(sys.maxsize >> 33)  # 1 GiB: texts are longer than the module's 128 KiB
    try:
        reader = csv.reader(texts(), strict=True)
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
