"""Words and their tags out of CoNLL files and JSON lines; every error with its line.

CoNLL   One word a line with its columns, separated by tabs or, in lines without one, by spaces; a blank line ends a sentence.  The word is
        column 1 and the tag the last one unless `columns` says otherwise: `text=1,label=4`.  -DOCSTART- lines are passed over, and remarks:
        lines before a sentence that begin with "# " and are no row (`_remarks`).
.conllu The same with columns 2 and 4, where lines that start with # are remarks, and words without a whole number (2-3, 2.1) are skipped.
.jsonl  One object a line: `text` a list of words, `label` the list of their tags; `columns` may name other keys.

A word of characters that cannot be seen (U+200B, U+3000) is a word, in all of them; one of blanks alone is refused.
Each also .gz, .xz, .zst.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import Lines, standing
from bertsmith.tasks.readers import check_text, json_object, kind_of, suffix_of
from bertsmith.tasks.spans import OUTSIDE, parts

DOCUMENT = "-DOCSTART-"
SKIPPED = {
    "documents": f"{DOCUMENT} lines",
    "remarks": 'remarks ("# …" before a sentence)',
    "parts": "rows without a whole number",
}
TABLE = (
    {"text", "sentence", "text_a", "text1", "sentence1"},
    {"label", "labels", "class", "target", "category"},
)  # names of columns
SPACES = re.compile("[ \t]+")  # no others: a word may hold a no-break space


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Sentences of one file.  `tags[i][j]` is that of `words[i][j]`, which stands in line `lines[i][j]`."""

    path: str | Given
    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[list[int]]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: bool = False

    def __len__(self) -> int:
        return len(self.words)

    def where(self, i: int, word: int = 0) -> str:
        return standing(self.path, self.lines[i][word])

    def inputs(self) -> list[Hashable]:
        return [tuple(words) for words in self.words]

    def picked(self, which: Sequence[int]) -> Sentences:
        """These sentences alone."""
        words, lines = ([of[i] for i in which] for of in (self.words, self.lines))
        return replace(
            self, words=words, lines=lines, tags=None if self.tags is None else [self.tags[i] for i in which]
        )


def read(
    path: str | Path | Given,
    *,
    columns: Mapping[str, str] | None = None,
    labelled: bool = True,
    encoding: str = "utf-8",
) -> Sentences:
    """InputError for a file without sentences, rows without a tag where `labelled`, words without text."""
    path, columns = path if isinstance(path, Given) else Path(path), dict(columns or {})
    if "text2" in columns:
        raise InputError(f"{option('columns', 'text2')}: words and their tags have no second text")
    suffix, counts = suffix_of(path), {"blank": 0, "documents": 0, "remarks": 0, "parts": 0}
    lines = Lines(path, encoding)
    if suffix in (".jsonl", ".json"):
        sentences = _json(lines, columns, labelled, counts)
    else:
        numbered = suffix == ".conllu"
        text, label = _number(columns, "text", 1 if numbered else 0), _number(columns, "label", 3 if numbered else -1)
        rows = _rows(lines, counts, numbered, label)
        sentences = _columns(rows, lines.name, text, label, labelled)
    words, tags, numbers = [], [], []
    for rows in sentences:
        numbers.append([number for number, _, _ in rows])
        words.append([word for _, word, _ in rows])
        tags.append([tag for _, _, tag in rows])
    if not words:
        raise InputError(f"{printable(path)}: holds no sentences")
    notes = [f"{printable(path)}: {counts[what]} {name} skipped" for what, name in SKIPPED.items() if counts[what]]
    return Sentences(
        path=path if isinstance(path, Given) else str(path),
        words=words,
        tags=tags if labelled else None,
        lines=numbers,
        counts=counts,
        notes=notes,
    )


Word = tuple[int, str, Any]  # line, word, tag


Fields = tuple[int, list[str]]  # line, columns; none where a sentence ends


def _rows(lines: Lines, counts: dict[str, int], numbered: bool, label: int) -> list[Fields]:
    """All rows of a file, documents' and sentences' ends among them, remarks left out."""
    rows: list[Fields] = []
    for number, line in lines:
        ends = not line.strip(" \t")
        if not rows and not ends:
            _check_no_table(line, f"{lines.name}:{number}")
        if not ends and SPACES.split(line.strip(" \t"), maxsplit=1)[0] == DOCUMENT:
            counts["documents"] += 1
            ends = True
        if ends:
            rows.append((number, []))
            continue
        if numbered and line.startswith("#"):
            counts["remarks"] += 1
            continue
        fields = line.split("\t") if "\t" in line else SPACES.split(line.strip(" "))
        fields = [part.strip(" ") for part in fields]
        if numbered and not fields[0].isdecimal():
            counts["parts"] += 1
            continue
        rows.append((number, fields))
    passed = set() if numbered else _remarks(rows, label)
    counts["remarks"] += len(passed)
    return [row for row in rows if row[0] not in passed]


def _remarks(rows: list[Fields], label: int) -> set[int]:
    """Lines that are remarks: they stand before a sentence, begin with "# ", and have other columns than the rows of the file, or in the
    place of the tag what is none of its tags.  A row "# O" stays a word, wherever it stands."""
    maybe, sure, begins = [], [], True
    for number, fields in rows:
        like = begins and bool(fields) and (fields[0] == "#" or fields[0].startswith("# "))
        (maybe if like else sure).append((number, fields))
        begins = like or not fields
    sure = [fields for _, fields in sure if fields]
    if not maybe or not sure:
        return set()
    width = len(sure[0])
    places = {label if label < width else -1, -1}
    tags = {OUTSIDE, "#"}.union(*(fields[at : at + 1 or None] for fields in sure for at in places))
    return {
        number
        for number, fields in maybe
        if len(fields) != width or not any(fields[at] in tags or parts(fields[at]) for at in places)
    }


def _check_no_table(line: str, where: str) -> None:
    """InputError for the header of a table."""
    for separator in "\t,;":
        names = [name.strip(' "').lower() for name in line.split(separator)]
        if all(known & set(names) for known in TABLE):
            shown = printable(", ".join(names), 60)
            raise InputError(
                f"{where}: the header of a table ({shown}); {option('task', 'tag')} reads a word and its tag a line, {option('task', 'classify')} tables"
            )


def _columns(rows: list[Fields], name: str, text: int, label: int, labelled: bool) -> Iterator[list[Word]]:
    width, first, blanks, words = 0, 0, 0, 0
    sentence: list[Word] = []
    for number, fields in rows:
        if not fields:
            if sentence:
                yield sentence
            sentence = []
            continue
        where = f"{name}:{number}"
        width, first = width or len(fields), first or number
        if len(fields) != width:
            raise InputError(f"{where}: {_many(len(fields))}, but {width} in line {first}")
        sentence.append((number, *_word(fields, text, label, labelled, where)))
        words, blanks = words + 1, blanks + (" " in sentence[-1][1])
    if words > 2 and (
        words == blanks or (words > 4 and blanks > 0.7 * words)
    ):  # a few are names, "New York"; most are not
        at, shown = next((at, fields[text]) for at, fields in rows if fields and " " in fields[text])
        raise InputError(
            f"{name}:{at}: text: blanks in {blanks} of {amount(words, 'word')}, such as {printable(repr(shown), 40)}; columns are parted by tabs or by blanks, not by both, and {option('task', 'tag')} reads a word a line"
        )
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
    if labelled and " " in fields[label]:
        raise InputError(
            f"{where}: label: {printable(repr(fields[label]), 40)} holds a blank; columns are parted by tabs or by blanks, not by both"
        )
    return fields[text], fields[label] if labelled else None


def _number(columns: dict[str, str], role: str, default: int) -> int:
    column = columns.get(role)
    if column is None:
        return default
    if not (column.isascii() and column.isdigit() and 0 < int(column) < 10_000):
        raise InputError(
            f"{option('columns', f'{role}={column}')}: {option('task', 'tag')} reads a word and its tag a line, without a header: columns are numbers, from 1"
        )
    return int(column) - 1


def _many(count: int) -> str:
    return amount(count, "column")


def _json(lines: Lines, columns: dict[str, str], labelled: bool, counts: dict[str, int]) -> Iterator[list[Word]]:
    keys = {role: columns.get(role, role) for role in ("text", *(("label",) if labelled else ()))}
    for number, line in lines:
        if not line.strip():
            counts["blank"] += 1
            continue
        where = lines.at(number)
        row, found = json_object(line, where), {}
        for role, key in keys.items():
            if key not in row:
                raise InputError(
                    f"{where}: {printable(key)}: is missing; {nearest(key, row) if row else 'the object is empty'}; {option('columns', f'{role}=NAME')} says which"
                )
            found[role] = _list(row[key], f"{where}: {printable(key)}")
        tags = found.get("label", [None] * len(found["text"]))
        if len(tags) != len(found["text"]):
            raise InputError(
                f"{where}: {printable(keys['label'])}: {amount(len(found['text']), 'word')} but {amount(len(tags), 'tag')}"
            )
        if found["text"] == [DOCUMENT]:
            counts["documents"] += 1
            continue
        yield [(number, word, tag) for word, tag in zip(found["text"], tags, strict=True)]


def _list(values: Any, where: str) -> list[str]:
    if not isinstance(values, list):
        raise InputError(f"{where}: {kind_of(values)} where a list of words or tags is expected")
    if not values:
        raise InputError(f"{where}: is empty")
    for i, value in enumerate(values):
        check_text(value, f"{where}.{i}")
        if not value.strip(" \t\r\n"):
            raise InputError(f"{where}.{i}: is empty")
    return values
