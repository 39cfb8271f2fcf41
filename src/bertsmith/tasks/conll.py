"""Words and their tags out of CoNLL files and JSON lines; every error with its line.

CoNLL   One word a line with its columns, separated by tabs or, in lines without one, by spaces; a blank line ends a sentence.  The word is
        column 1 and the tag the last one unless `columns` says otherwise: `text=1,label=4`.  -DOCSTART- lines are skipped.
.conllu The same with columns 2 and 4, where lines that start with # are remarks, and words without a whole number (2-3, 2.1) are skipped.
.jsonl  One object a line: `text` a list of words, `label` the list of their tags; `columns` may name other keys.

Each also .gz, .xz, .zst.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.readers import check_text, json_object, kind_of, suffix_of

DOCUMENT = "-DOCSTART-"
SKIPPED = {"documents": f"{DOCUMENT} lines", "parts": "rows without a whole number"}
SPACES = re.compile("[ \t]+")  # no others: a word may hold a no-break space


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Sentences of one file.  `tags[i][j]` is that of `words[i][j]`, which stands in line `lines[i][j]`."""

    path: str
    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[list[int]]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: bool = False

    def __len__(self) -> int:
        return len(self.words)

    def where(self, i: int, word: int = 0) -> str:
        return f"{printable(self.path)}:{self.lines[i][word]}"

    def inputs(self) -> list[Hashable]:
        return [tuple(words) for words in self.words]


def read(path: str | Path, *, columns: Mapping[str, str] | None = None, labelled: bool = True) -> Sentences:
    """InputError for a file without sentences, rows without a tag where `labelled`, words without text."""
    path, columns = Path(path), dict(columns or {})
    if "text2" in columns:
        raise InputError("--columns text2: words and their tags have no second text")
    suffix, counts = suffix_of(path), {"blank": 0, "documents": 0, "parts": 0}
    lines = Lines(path)
    if suffix in (".jsonl", ".json"):
        sentences = _json(lines, columns, labelled, counts)
    else:
        sentences = _columns(lines, columns, labelled, counts, remarks=suffix == ".conllu")
    words, tags, numbers = [], [], []
    for rows in sentences:
        numbers.append([number for number, _, _ in rows])
        words.append([word for _, word, _ in rows])
        tags.append([tag for _, _, tag in rows])
    if not words:
        raise InputError(f"{printable(path)}: holds no sentences")
    notes = [f"{printable(path)}: {counts[what]} {name} skipped" for what, name in SKIPPED.items() if counts[what]]
    return Sentences(
        path=str(path), words=words, tags=tags if labelled else None, lines=numbers, counts=counts, notes=notes
    )


Word = tuple[int, str, Any]  # line, word, tag


def _columns(
    lines: Lines, columns: dict[str, str], labelled: bool, counts: dict[str, int], remarks: bool
) -> Iterator[list[Word]]:
    text, label = _number(columns, "text", 1 if remarks else 0), _number(columns, "label", 3 if remarks else -1)
    width, first = 0, 0
    sentence: list[Word] = []
    for number, line in lines:
        if not line.strip(" \t"):
            if sentence:
                yield sentence
            sentence = []
            continue
        if remarks and line.startswith("#"):
            continue
        fields = line.split("\t") if "\t" in line else SPACES.split(line.strip(" "))
        fields = [part.strip(" ") for part in fields]
        if fields[0] == DOCUMENT:
            counts["documents"] += 1
            continue
        if remarks and not fields[0].isdecimal():
            counts["parts"] += 1
            continue
        where = f"{lines.name}:{number}"
        width, first = width or len(fields), first or number
        if len(fields) != width:
            raise InputError(f"{where}: {_many(len(fields))}, but {width} in line {first}")
        sentence.append((number, *_word(fields, text, label, labelled, where)))
    if sentence:
        yield sentence


def _word(fields: list[str], text: int, label: int, labelled: bool, where: str) -> tuple[str, str | None]:
    """`text`, `label`: columns from 0; label -1 is the last one."""
    for role, column in (("text", text), *((("label", label),) if labelled else ())):
        if column >= len(fields):
            raise InputError(f"{where}: {role}: {_many(len(fields))}, and column {column + 1} is asked for")
        if column == -1 and len(fields) == 1:
            raise InputError(
                f"{where}: label: one column; a word and its tag are needed, separated by a tab or a space"
            )
        if not fields[column]:
            raise InputError(f"{where}: {role}: is empty")
    return fields[text], fields[label] if labelled else None


def _number(columns: dict[str, str], role: str, default: int) -> int:
    column = columns.get(role)
    if column is None:
        return default
    if not (column.isascii() and column.isdigit() and 0 < int(column) < 10_000):
        raise InputError(f"--columns {role}={printable(column)}: the columns of a CoNLL file are numbers, from 1")
    return int(column) - 1


def _many(count: int) -> str:
    return f"{count} column{'s' * (count != 1)}"


def _json(lines: Lines, columns: dict[str, str], labelled: bool, counts: dict[str, int]) -> Iterator[list[Word]]:
    keys = {role: columns.get(role, role) for role in ("text", *(("label",) if labelled else ()))}
    for number, line in lines:
        if not line.strip():
            counts["blank"] += 1
            continue
        where = f"{lines.name}:{number}"
        row, found = json_object(line, where), {}
        for role, key in keys.items():
            if key not in row:
                raise InputError(
                    f"{where}: {printable(key)}: is missing; {nearest(key, row) if row else 'the object is empty'}; --columns {role}=NAME says which"
                )
            found[role] = _list(row[key], f"{where}: {printable(key)}")
        tags = found.get("label", [None] * len(found["text"]))
        if len(tags) != len(found["text"]):
            raise InputError(f"{where}: {printable(keys['label'])}: {len(found['text'])} words but {len(tags)} tags")
        yield [(number, word, tag) for word, tag in zip(found["text"], tags, strict=True)]


def _list(values: Any, where: str) -> list[str]:
    if not isinstance(values, list):
        raise InputError(f"{where}: {kind_of(values)} where a list of words or tags is expected")
    if not values:
        raise InputError(f"{where}: is empty")
    for i, value in enumerate(values):
        check_text(value, f"{where}.{i}")
        if not value.strip():
            raise InputError(f"{where}.{i}: is empty")
    return values
