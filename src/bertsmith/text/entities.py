"""Vectors of entities with their names, from a file: what `graph` wrote, NumPy's, or word2vec's text.  e entities, w numbers each.

A folder has vectors.npy and entities.txt; X.npy has its names in X.txt beside it, one a line (what stands behind a tab is left out, and a
first line that is their number alone); any other file is text: a name and its numbers a line, parted by blanks or tabs, perhaps behind a
first line of two numbers, how many and how wide.  Text may be packed: .gz, .xz, .zst.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.text.word_list import contents

Array = np.ndarray
VECTORS, NAMES = "vectors.npy", "entities.txt"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entities:
    names: tuple[str, ...]
    vectors: Array  # (e, w) float32

    @classmethod
    def read(cls, path: str | os.PathLike) -> Entities:
        """InputError naming what is missing, of another shape, not finite, or named twice."""
        where = Path(path)
        if where.is_dir():
            names, vectors = _lines(where / NAMES), _table(where / VECTORS)
        elif where.suffix == ".npy":
            names, vectors = _lines(where.with_suffix(".txt")), _table(where)
        else:
            names, vectors = _text(where)
        if len(names) != len(vectors):
            raise InputError(
                f"{printable(path)}: {len(names):,} names for {len(vectors):,} vectors; one name a line is wanted"
            )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
            raise InputError(f"{printable(path)}: the vector of {printable(names[row], 60)} is not finite")
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise InputError(f"{printable(path)}: {printable(twice, 60)} stands there twice; an entity has one vector")
        return cls(names=tuple(names), vectors=vectors)

    @property
    def numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


def _lines(path: Path) -> list[str]:
    lines = _decoded(path).split("\n")
    names = [line.partition("\t")[0].strip() for line in lines if line.strip()]
    return names[1:] if names and names[0].isdecimal() and int(names[0]) == len(names) - 1 else names


def _decoded(path: Path) -> str:
    try:
        return contents(str(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: byte {error.start}: not UTF-8") from None


def _table(path: Path) -> Array:
    try:
        table = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: missing") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{printable(path)}: not a plain .npy file: {printable(error)}") from None
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind != "f" or not table.size:
        raise InputError(f"{printable(path)}: a table of floats is wanted, a row for each entity")
    return table.astype(np.float32)


def _text(path: Path) -> tuple[list[str], Array]:
    names, rows, width = [], [], 0
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        fields = line.split("\t") if line.count("\t") > 1 else line.split(" ")
        fields = [field for field in fields if field.strip()]
        if not fields or (number == 1 and len(fields) == 2 and all(field.strip().isdecimal() for field in fields)):
            continue
        try:
            row = [float(field) for field in fields[1:]]
        except ValueError:
            row = []
        if not row or (width and len(row) != width):
            raise InputError(f"{printable(path)}:{number}: a name and {width or 'its'} numbers are wanted")
        width = len(row)
        names.append(fields[0].strip())
        rows.append(row)
    if not rows:
        raise InputError(f"{printable(path)}: no vector; a name and its numbers a line")
    return names, np.array(rows, np.float32)
