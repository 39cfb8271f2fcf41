"""A .parquet file as the lines of a file of JSON, an object for each row; row i, from 1, is called `file:i`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bertsmith.errors import InputError, printable
from bertsmith.tasks.given import plain
from bertsmith.tasks.lines import opened

ROWS = 4096  # at once


class Parquet:
    """(number, line) of each row; what JSON has no word for (dates, bytes) is left out."""

    def __init__(self, path: Path):
        self.path, self.name = path, printable(path)

    def at(self, number: int) -> str:
        return f"{self.name}:{number}"

    def __iter__(self) -> Iterator[tuple[int, str]]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InputError(f"{self.name}: parquet needs pyarrow; pip install 'bertsmith[hub]'") from None
        number = 0
        try:
            with opened(self.path) as file:
                for batch in pyarrow.parquet.ParquetFile(file).iter_batches(ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, json.dumps(_sayable(row))
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.at(number + 1)}: not parquet that can be read: {printable(error)}") from None


def _sayable(row: dict) -> dict:
    found = {}
    for key, value in row.items():
        try:
            found[key] = plain(value, key)
        except InputError:
            continue
    return found
