"""Words and their tags out of CoNLL files and JSON lines; every error with its line.

CoNLL   One word a line with its columns, separated by tabs or, in lines without one, by spaces; a blank line ends a sentence.  The word is
        column 1 and the tag the last one unless `columns` says otherwise: `text=1,label=4`.  -DOCSTART- lines are passed over, and remarks:
        lines before a sentence that begin with "# " and are no row (`_remarks`).
.conllu The same with columns 2 and 4, where lines that start with # are remarks, and words without a whole number (2-3, 2.1) are skipped.
.jsonl  One object a line: `text` a list of words, `label` the list of their tags; or `text` as it stands, with spans of characters
        (marked_texts.py).  `columns` may name other keys.  .json may be one array of such objects.

A word of characters that cannot be seen (U+200B, U+3000) is a word, in all of them; one of blanks alone is refused.
Each also .gz, .xz, .zst.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import marked_texts
from bertsmith.tasks.given import Given
from bertsmith.tasks.joined import Joined
from bertsmith.tasks.lines import Lines, standing
from bertsmith.tasks.readers import check_text, json_object, kind_of, suffix_of
from bertsmith.tasks.spans import OUTSIDE, parts
from bertsmith.tasks.table import check_one

DOCUMENT = "-DOCSTART-"
SKIPPED = {
    "documents": f"{DOCUMENT} lines",
    "remarks": 'remarks ("# …" before a sentence)',
    "parts": "rows without a whole number",
    "rejected": "rows that were not accepted",
}
MARKED = {
    "cut": ("word is", "words are", "parted, where spans begin or end inside one"),
    "trimmed": ("span has", "spans have", "blanks at the ends, which are left out"),
}
TABLE = (
    {"text", "sentence", "text_a", "text1", "sentence1"},
    {"label", "labels", "class", "target", "category"},
)  # names of columns
GAP = re.compile(r"[\s,]*")  # between the values of an array
SPACES = re.compile("[ \t]+")  # no others: a word may hold a no-break space


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """Sentences of one file.  `tags[i][j]` is that of `words[i][j]`, which stands in line `lines[i][j]`; `texts`: as they stand, where the file
    has them so."""

    path: str | Given
    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[list[int]]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: bool = False
    texts: list[Joined] | None = None
    nested: list[str] = field(
        default_factory=list
    )  # of each text what is wrong with spans that share characters, "" where none do

    def __len__(self) -> int:
        return len(self.words)

    @property
    def lengths(self) -> np.ndarray:
        """(sentences,) words of each."""
        return np.array([len(words) for words in self.words])

    def joined(self, i: int) -> Joined:
        """The text that words are read in: as it stood, or put together from them."""
        return Joined.of(self.words[i]) if self.texts is None else self.texts[i]

    def where(self, i: int, word: int = 0) -> str:
        return standing(self.path, self.lines[i][word])

    def inputs(self) -> list[Hashable]:
        return [tuple(words) for words in self.words] if self.texts is None else [text.text for text in self.texts]

    def picked(self, which: Sequence[int]) -> Sentences:
        """These sentences alone."""
        names = ("words", "lines", "tags", "texts")
        lists = {name: None if (of := getattr(self, name)) is None else [of[i] for i in which] for name in names}
        if self.nested:
            lists["nested"] = [self.nested[i] for i in which]
        return replace(self, **lists)


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
    wide = False  # whether lines hold more than a word
    suffix, counts = suffix_of(path), Counter(blank=0, documents=0, remarks=0, parts=0)
    lines, texts = Lines(path, encoding), Texts([], [])
    if suffix in (".jsonl", ".json"):
        sentences = _json(lines, columns, labelled, counts, texts)
    else:
        numbered = suffix == ".conllu"
        text, label = _number(columns, "text", 1 if numbered else 0), _number(columns, "label", 3 if numbered else -1)
        rows = _rows(lines, counts, numbered, label)
        sentences = _columns(rows, lines.name, text, label, labelled)
        wide = not labelled and "text" not in columns and sum(len(cells) > 1 for _, cells in rows) > FEW
    words, tags, numbers = [], [], []
    for rows in sentences:
        numbers.append([number for number, _, _ in rows])
        words.append([word for _, word, _ in rows])
        tags.append([tag for _, _, tag in rows])
    if not words:
        raise InputError(f"{printable(path)}: holds no sentences")
    notes = [f"{printable(path)}: {counts[what]} {name} skipped" for what, name in SKIPPED.items() if counts[what]]
    notes += [
        f"{printable(path)}: {counts[what]:,} {one if counts[what] == 1 else several} {said}"
        for what, (one, several, said) in MARKED.items()
        if counts[what]
    ]
    if wide and len(words) == 1:
        notes.append(
            f'warning: {printable(path)}: is read as one sentence, the first word of each of its {len(words[0]):,} lines; texts of a line each go into .jsonl, {{"text": …}}'
        )
    return Sentences(
        path=path if isinstance(path, Given) else str(path),
        words=words,
        tags=tags if labelled else None,
        lines=numbers,
        counts=counts,
        notes=notes,
        texts=texts.joined or None,
        nested=texts.nested if any(texts.nested) else [],
    )


@dataclass(frozen=True)
class Texts:
    """Of rows that have texts and not words."""

    joined: list[Joined]
    nested: list[str]


FEW = 4  # lines, up to which one sentence is nothing odd

Word = tuple[int, str, Any]  # line, word, tag


Fields = tuple[int, list[str]]  # line, columns; none where a sentence ends


def _rows(lines: Lines, counts: Counter[str], numbered: bool, label: int) -> list[Fields]:
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
    if labelled and text == label % len(fields):
        raise InputError(
            f"{where}: text and label are one column, number {text + 1}; {option('columns', 'text=1,label=2')} says which is which"
        )
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


def _json(
    lines: Lines, columns: dict[str, str], labelled: bool, counts: Counter[str], texts: Texts
) -> Iterator[list[Word]]:
    """Sentences, and into `texts` what they were cut from, where rows have texts and not words."""
    made = 0
    for number, row in _objects(lines, counts):
        where, key = lines.at(number), columns.get("text", "text")
        if key not in row:
            raise InputError(_missing(where, "text", key, row))
        marked = isinstance(row[key], str)
        if made and marked != bool(texts.joined):
            raise InputError(
                f"{where}: {printable(key)}: {kind_of(row[key])}, where the rows before have {'a text' if texts.joined else 'a list of words'}"
            )
        if marked:
            if row.get("answer", "accept") != "accept":  # Prodigy's
                counts["rejected"] += 1
                continue
            joined, tags, nested = _marked(row, where, columns, labelled, counts)
            texts.joined.append(joined)
            texts.nested.append(nested)
            made += 1
            words = [joined.part(i, i + 1) for i in range(len(joined.begins))]
            yield [(number, word, tag) for word, tag in zip(words, tags, strict=True)]
            continue
        words = _list(row[key], f"{where}: {printable(key)}")
        tags = [None] * len(words)
        if labelled:
            name = columns.get("label", "label")
            check_one({"text": key, "label": name}, where)
            if name not in row:
                raise InputError(_missing(where, "label", name, row))
            tags = _list(row[name], f"{where}: {printable(name)}")
            if len(tags) != len(words):
                raise InputError(
                    f"{where}: {printable(name)}: {amount(len(words), 'word')} but {amount(len(tags), 'tag')}"
                )
        if words == [DOCUMENT]:
            counts["documents"] += 1
            continue
        made += 1
        yield [(number, word, tag) for word, tag in zip(words, tags, strict=True)]


def _marked(
    row: dict[str, Any], where: str, columns: dict[str, str], labelled: bool, counts: Counter[str]
) -> tuple[Joined, list[Any], str]:
    key = columns.get("text", "text")
    check_text(row[key], f"{where}: {printable(key)}")
    if labelled:
        name = columns.get("label") or next((name for name in marked_texts.KEYS if name in row), "label")
        check_one({"text": key, "label": name}, where)
        if name not in row and "answer" not in row:
            raise InputError(_missing(where, "label", name, row))
        joined, tags, nested = marked_texts.read(row[key], row.get(name, []), f"{where}: {printable(name)}", counts)
    else:
        joined = marked_texts.words(row[key])
        tags, nested = [None] * len(joined.begins), ""
    if not tags:
        raise InputError(f"{where}: {printable(key)}: is empty")
    return joined, tags, nested


def _missing(where: str, role: str, key: str, row: dict[str, Any]) -> str:
    way = nearest(key, row) if row else "the object is empty"
    return f"{where}: {printable(key)}: is missing; {way}; {option('columns', f'{role}=NAME')} says which"


def _objects(lines: Lines, counts: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a file with one a line, or of one array over any lines."""
    rest = iter(lines)
    for number, line in rest:
        if not line.strip():
            counts["blank"] += 1
        elif line.lstrip().startswith("[") and suffix_of(lines.path) == ".json":
            yield from _items(number, "\n".join([line, *(more for _, more in rest)]), lines)
        else:
            yield number, json_object(line, lines.at(number))


def _items(first: int, text: str, lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array that begins in line `first`, each with its own line."""
    at, decoder = text.index("[") + 1, json.JSONDecoder()
    while True:
        at = GAP.match(text, at).end()  # type: ignore[union-attr]
        number = first + text.count("\n", 0, at)
        if text.startswith("]", at):
            return
        try:
            end = decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError):
            raise InputError(f"{lines.at(number)}: not JSON, within the array that begins in line {first}") from None
        yield number, json_object(text[at:end], lines.at(number))
        at = end


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
