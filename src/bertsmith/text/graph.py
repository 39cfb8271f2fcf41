"""A knowledge graph in files of triples: head, relation, tail, parted by tabs, a triple a line; also .gz, .xz, .zst.

A first line that is a number alone says that the file is OpenKE's: so many lines of head, tail, relation follow, parted by blanks.
m triples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.text.word_list import contents

Array = np.ndarray
COUNT = re.compile(r"\s*(\d{1,12})\s*")


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Names in the order of their first triple; `parts`: {"train": (m, 3) int64 numbers of head, relation and tail, …}."""

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    parts: dict[str, Array]
    unseen: int  # entities and relations of other parts that train does not have
    repeated: int  # triples of train that stood there before, and are read once

    @classmethod
    def read(cls, paths: Mapping[str, str | Path | None]) -> Graph:
        """InputError naming file and line of what is no triple."""
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        parts, known, repeated = {}, 0, 0
        for part, path in paths.items():
            if path is None:
                continue
            found = [
                (
                    entities.setdefault(head, len(entities)),
                    relations.setdefault(relation, len(relations)),
                    entities.setdefault(tail, len(entities)),
                )
                for head, relation, tail in triples(path)
            ]
            if not found:
                raise InputError(f"{printable(path)}: no triple; head, relation and tail a line, parted by tabs")
            alone = list(dict.fromkeys(found)) if part == "train" else found
            repeated += len(found) - len(alone)
            parts[part] = np.array(alone, np.int64)
            known = known or len(entities) + len(relations)
        unseen = len(entities) + len(relations) - known
        return cls(entities=tuple(entities), relations=tuple(relations), parts=parts, unseen=unseen, repeated=repeated)

    @property
    def known(self) -> Array:
        """(m, 3) the triples of all parts."""
        return np.concatenate(list(self.parts.values()))


def triples(path: str | Path) -> list[tuple[str, str, str]]:
    """The triples of a file, as names."""
    try:
        lines = contents(str(path)).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: byte {error.start}: not UTF-8") from None
    counted = COUNT.fullmatch(lines[0]) if lines else None
    found = []
    for number, line in enumerate(lines[1:] if counted else lines, 2 if counted else 1):
        if not line.strip():
            continue
        fields = line.split() if counted else line.rstrip("\r").split("\t")
        if len(fields) != 3 or not all(field.strip() for field in fields):
            how = "head, tail and relation, parted by blanks" if counted else "head, relation and tail, parted by tabs"
            raise InputError(f"{printable(path)}:{number}: no triple: {printable(line, 60)}; {how}, are wanted")
        head, second, third = (field.strip() for field in fields)
        found.append((head, third, second) if counted else (head, second, third))
    if counted and len(found) != int(counted[1]):
        raise InputError(f"{printable(path)}: its first line says {int(counted[1]):,} triples, it has {len(found):,}")
    return found
