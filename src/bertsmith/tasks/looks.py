"""What a file looks like that a task cannot read, and which task reads such: asked when something is wrong, never before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.readers import suffix_of
from bertsmith.tasks.spans import OUTSIDE, parts
from bertsmith.text.fields import SEPARATORS, parting
from bertsmith.text.recognise import HEAD, document

WANTS = {
    "classify": "texts and classes in columns",
    "multilabel": "texts and their labels in columns",
    "ordinal": "texts and classes that have an order in columns",
    "regress": "texts and numbers in columns",
    "choice": "a text and several to choose from a row",
    "tag": "a word and its tag a line (CoNLL), or JSON lines",
    "qa": "SQuAD's json, or JSON lines of questions",
    "text2text": "texts and what is to be written about them in columns",
    "similarity": "pairs of texts in columns",
    "retrieval": "pairs of texts in columns",
}
LIKE = dict.fromkeys(
    ("text2text", "multilabel", "ordinal", "choice", "similarity", "retrieval"), "classify"
)  # reads the same files
COLUMNS = "write them as .tsv, .csv or .jsonl"
WRITE = {
    "classify": COLUMNS,
    "multilabel": COLUMNS,
    "ordinal": COLUMNS,
    "regress": COLUMNS,
    "choice": COLUMNS,
    "tag": "write them as .conll or .jsonl",
    "qa": "write them as .jsonl",
    "text2text": COLUMNS,
    "similarity": COLUMNS,
    "retrieval": COLUMNS,
}
RECORDS = "to_json(…, orient='records', lines=True) of pandas"
WAY = {
    "plain text": "label it first",
    "a table of texts": 'texts go into .jsonl, {"text": …} a line',
    "a JSON array without questions": "its rows have id, question, context and answers",
}
BINARY = {
    ".parquet": f"write JSON lines ({RECORDS})",
    ".arrow": "write JSON lines (to_json(…) of datasets)",
    ".pkl": f"write JSON lines ({RECORDS})",
    ".npy": "write texts and labels as .tsv, .csv or .jsonl",
}
CONLL = (".conll", ".conllu", ".iob", ".bio", ".iob2")
LINES, CHARACTERS = 200, 1 << 16
TEXTS = {"text", "sentence", "sentence1", "text_a", "text1", "review", "comment", "content", "tweet", "headline"}


@contextmanager
def fitting(path: str | Path | Given, task: str, encoding: str = "utf-8") -> Iterator[None]:
    """An error about a file that looks like another task's says so instead, in one line."""
    try:
        yield
    except InputError as error:
        if not isinstance(path, Given) and (said := misfit(Path(path), task, encoding)):
            raise InputError(f"{printable(path)}: {said}") from error
        raise


def misfit(path: Path, task: str, encoding: str = "utf-8") -> str:
    """What is wrong with a file that is not of the kind that `task` reads; "" where nothing tells that it is another."""
    suffix = suffix_of(path)
    if not path.is_file():
        return ""
    if what := _document(path):
        kind = what.partition(";")[0]
        return (
            f"is {what}"
            if "CSV" in what
            else f"is {kind}, but {option('task', task)} reads {WANTS[task]}; {WRITE[task]}"
        )
    if suffix == ".parquet" and WRITE[task] == COLUMNS:
        return ""
    if suffix in BINARY:
        return f"{suffix} is not read; {BINARY[suffix]}"
    try:
        lines = [line for _, line in islice(Lines(path, encoding), LINES)]
    except InputError:
        return ""
    found = _json(lines, task)
    if found is None and not "".join(lines[:1]).lstrip().startswith(("{", "[")):
        found = _conll(lines, suffix) or _table(lines, suffix) or _plain(lines, suffix, task)
        found = found or _one_column(lines, suffix, task)
    if not found or {task, LIKE.get(task, task)} & {*found[1]}:
        return ""
    looks, tasks = found
    reads = f"{option('task', *tasks)} reads such" if tasks else WAY.get(looks, f"write an object a line ({RECORDS})")
    return f"looks like {looks}, but {option('task', task)} reads {WANTS[task]}; {reads}"


def _document(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return document(file.read(HEAD), path.name)
    except OSError:
        return ""


Found = tuple[str, tuple[str, ...]]  # what it looks like, the tasks that read such


def _json(lines: list[str], task: str) -> Found | None:
    text = "\n".join(lines).lstrip()
    if text[:1] not in ("{", "["):
        return None
    start = text[:CHARACTERS]
    if '"paragraphs"' in start or all(f'"{name}"' in start for name in ("context", "question", "answers")):
        return "SQuAD's json", ("qa",)
    row = _object(lines)
    if row is None:
        if task == "qa" and text[0] == "[" and "{" in start and '"question"' not in start:
            return "a JSON array without questions", ()
        if task == "qa" or (text[0] == "{" and len(lines) < 3):
            return None
        return "a JSON array" if text[0] == "[" else "one JSON object over several lines", ()
    if {"data", "qas", "question", "context"} & row.keys():
        return None
    if isinstance(row.get("choices"), list) or {"choice0", "choice1", "choice2"} & row.keys():
        return "JSON lines of texts to choose from", ("choice",)
    if row and all(isinstance(value, (dict, list)) for value in row.values()) and len(lines) < 3 and not _words(row):
        return "pandas' columns in one JSON object", ()
    if any(isinstance(value, str) for value in row.values()) and any(map(_spans, row.values())):
        return "JSON lines of texts with spans", ("tag",)
    if _words(row):
        return "JSON lines of words and tags", ("tag",)
    if any(isinstance(value, str) for value in row.values()):
        return "JSON lines of texts", ("classify", "regress")
    return None


def _object(lines: list[str]) -> dict[str, Any] | None:
    """The first line, where it is an object."""
    try:
        row = json.loads(next(line for line in lines if line.strip()))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _spans(value: Any) -> bool:
    """Whether it is a label of pieces of a text: {"PER": {…}}, or a list of [start, end, type] or of objects."""
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return bool(parts) and all(isinstance(part, (list, dict)) for part in parts)


def _words(row: dict[str, Any]) -> bool:
    """Whether two values are lists of one length, the first of strings: words and tags."""
    lists = [value for value in row.values() if isinstance(value, list) and value]
    of_words = [value for value in lists if all(isinstance(word, str) for word in value)]
    return any(len(words) == len(tags) for words in of_words for tags in lists if tags is not words)


def _conll(lines: list[str], suffix: str) -> Found | None:
    """A word a line, columns with tags of spans at the end, or as many columns in all lines and blank lines between sentences."""
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines if line.strip()]
    rows = [row for row in rows if not row[0].startswith(("#", "-DOCSTART-"))]
    if suffix in CONLL:
        return "a CoNLL file", ("tag",)
    if len(rows) < 2 or not all(1 < len(row) < 20 and " " not in row[0].strip() for row in rows):
        return None
    last = [row[-1].strip() for row in rows]
    spans = sum(tag == OUTSIDE or (len(tag) > 2 and bool(parts(tag))) for tag in last)
    ends = any(not line.strip() for line in lines[:-1])
    alike = len({len(row) for row in rows}) == 1
    if spans > 0.9 * len(rows) or (ends and alike and spans > 0.5 * len(rows)) or (ends and len(rows[0]) == 10):
        return "a CoNLL file", ("tag",)
    return None


def _table(lines: list[str], suffix: str) -> Found | None:
    """Texts of several words in columns."""
    usual = "\t" if suffix == ".tsv" else ","
    by = parting(lines, usual, TEXTS, 2)
    found = f"a table ({SEPARATORS[by]} part its columns)", ("classify", "regress")
    if suffix == ".csv" and lines and by in lines[0]:
        return found
    rows = [line.split(by) for line in lines if line.strip()]
    if not rows or len(rows[0]) < 2 or (suffix not in (".tsv", ".csv") and len({len(row) for row in rows}) > 1):
        return None
    texts = max(sum(" " in cell.strip() for cell in column) for column in zip(*rows, strict=False))
    if texts < 0.5 * len(rows) and not TEXTS & {cell.strip().strip('"').lower() for cell in rows[0]}:
        return None
    return found


def _one_column(lines: list[str], suffix: str, task: str) -> Found | None:
    """Texts alone under their header, for a tagger: of other tasks the header says what they lack."""
    first = "".join(lines[:1]).strip().strip('"').lower()
    return ("a table of texts", ()) if task == "tag" and suffix in (".tsv", ".csv") and first in TEXTS else None


def _plain(lines: list[str], suffix: str, task: str) -> Found | None:
    many = [len(line.split()) for line in lines if line.strip()]
    plain = suffix == ".txt" and len(set(many)) > 1 and sum(many) > 2 * len(many)
    return ("plain text", ()) if plain and task in ("tag", "qa") else None
