"""Questions about texts out of SQuAD's json (1.1 and 2.0).

{"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": [{"text": …, "answer_start": …}]}]}]}]}; a question
without answers (2.0: is_impossible) has none in its text.  `answer_start` counts characters.  Also .gz, .xz, .zst.

Rows, as data sets are saved from Hugging Face, an object a line or all in a list, are read too: {"id": …, "question": …, "context": …,
"answers": {"text": [...], "answer_start": [...]}}.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.tasks.answer_scores import CHARACTERS, scoring
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.readers import kind_of

LAYOUT = 'SQuAD has {"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": […]}]}]}]}'
SURROGATE = re.compile("[\ud800-\udfff]")
NAMES = {str: "a string", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`start` counts characters of the context; None where the text does not stand at the place that the file names, `said`."""

    text: str
    start: int | None
    said: int


@dataclass(frozen=True)
class Source:
    """The text of a file, or of one line of it.  Where in it an object stands is asked when something is wrong, and parsed for then."""

    name: str
    text: str
    first: int | None = 1  # its line in the file; None where it is no file

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line in which the innermost object of `path` begins."""
        begins: dict[int, int] = {}

        def parse_object(begin, *rest):
            found, end = JSONObject(begin, *rest)
            begins[id(found)] = begin[1] - 1
            return found, end

        decoder: Any = json.JSONDecoder()
        decoder.parse_object = parse_object
        tree = py_make_scanner(decoder)(self.text, len(self.text) - len(self.text.lstrip()))[0]
        at = begins.get(id(tree), 0)
        for part in path:
            try:
                tree = tree[part]
            except (KeyError, IndexError, TypeError):  # rows have an answer's text and place in two lists
                break
            at = begins.get(id(tree), at)
        return (self.first or 0) + self.text.count("\n", 0, at)


@dataclass(frozen=True)
class Place:
    """An object of a file; as text its file, line and path."""

    source: Source
    path: tuple[str | int, ...] = ()

    def down(self, *path: str | int) -> Place:
        return Place(self.source, self.path + path)

    def __str__(self) -> str:
        where = ".".join(map(str, self.path))
        line = "" if self.source.first is None else f":{self.source.line(self.path)}"
        return f"{self.source.name}{line}{': ' if where else ''}{where}"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions of one file, in its order.  Question i asks about `contexts[about[i]]`."""

    path: str | Given
    ids: list[str]
    questions: list[str]
    about: list[int]
    contexts: list[str]
    answers: list[list[Answer]]  # empty: it has none
    places: list[Place]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: bool = True
    articles: list[Hashable] = field(default_factory=list)  # what each question's text is a part of

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, i: int) -> str:
        return f"{self.places[i]} ({printable(self.ids[i], 60)})"

    def inputs(self) -> list[Hashable]:
        return [(question, self.contexts[i]) for question, i in zip(self.questions, self.about, strict=True)]

    def picked(self, which: Sequence[int]) -> Questions:
        """These questions alone, and what they ask about."""
        kept = {about: i for i, about in enumerate(dict.fromkeys(self.about[i] for i in which))}
        names = ("ids", "questions", "answers", "places", "articles")
        lists = {name: [getattr(self, name)[i] for i in which] for name in names}
        about = [kept[self.about[i]] for i in which]
        return replace(self, about=about, contexts=[self.contexts[i] for i in kept], **lists)


def read(path: str | Path | Given, *, labelled: bool = True, encoding: str = "utf-8") -> Questions:
    """InputError naming file, line and field for what is no SQuAD file, for empty questions and texts, and ids that stand there twice."""
    path = path if isinstance(path, Given) else Path(path)
    name = path if isinstance(path, Given) else str(path)
    found = Questions(path=name, ids=[], questions=[], about=[], contexts=[], answers=[], places=[])
    known: dict[str, int] = {}  # rows say the context of every question
    for context, asked in _contexts(path, encoding):
        about = known.setdefault(context, len(found.contexts)) if len(asked) == 1 else len(found.contexts)
        found.contexts.extend([context] if about == len(found.contexts) else [])
        for question, place in asked:
            found.ids.append(_name(question, place))
            found.questions.append(_text(question, "question", place, empty=True))
            found.about.append(about)
            found.answers.append(_answers(question, context, place) if labelled else [])
            found.places.append(place)
            found.articles.append(place.path[:2] if "paragraphs" in place.path else question.get("title", context))
    if not found.ids:
        raise InputError(f"{printable(path)}{'' if isinstance(path, Given) else ':1'}: holds no questions")
    twice, many = Counter(found.ids).most_common(1)[0]
    if many > 1:
        first = found.ids.index(twice)
        raise InputError(f"{found.where(found.ids.index(twice, first + 1))}: id: stands in the file before")
    empty = sum(not question.strip() for question in found.questions)
    if empty:
        found.notes.append(
            f"{printable(path)}: {amount(empty, 'question is', 'questions are')} empty; the text alone is read"
        )
    lost = sum(bool(answers) and all(a.start is None for a in answers) for answers in found.answers)
    if lost:
        note = f"the answers to {amount(lost, 'question')} do not stand where answer_start says; such can be scored, not learned from"
        found.notes.append(f"{printable(path)}: {note}")
    if scoring([answer.text for answer in answers] for answers in found.answers) is CHARACTERS:
        found.notes.append(f"{printable(path)}: answers are scored by characters, as CMRC 2018 does")
    return found


def _contexts(path: Path | Given, encoding: str) -> Iterator[tuple[str, list[tuple[dict, Place]]]]:
    """(context, [(question, its place)]) of either form.  Rows that are given need no id: their number is one."""
    if isinstance(path, Given):
        for i, line in enumerate(path.lines):
            yield _row({"id": str(i), **json.loads(line)}, Place(Source(path.where(i), line, first=None)))
        return
    lines = list(Lines(path, encoding))
    source = Source(printable(path), "\n".join(line for _, line in lines))
    if not source.text.strip():
        raise InputError(f"{source.name}: is empty; {LAYOUT}")
    try:
        tree = _parsed(source)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not _is_row(source.text.lstrip().split("\n", 1)[0]):
            raise InputError(f"{source.name}:{error.lineno}: column {error.colno}: not JSON ({error.msg})") from None
        yield from _lines(source.name, lines)
        return
    place = Place(source)
    if isinstance(tree, dict) and "data" not in tree and "context" in tree:
        yield _row(tree, place)
        return
    rows, place = (tree["data"], place.down("data")) if isinstance(tree, dict) and "data" in tree else (tree, place)
    if isinstance(rows, list) and rows and isinstance(rows[0], dict) and "context" in rows[0]:
        for i, row in enumerate(rows):
            yield _row(row, place.down(i))
    else:
        yield from _paragraphs(tree, Place(source))


def _parsed(source: Source) -> Any:
    try:
        return json.loads(source.text, parse_constant=lambda constant: None)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError):
        raise InputError(f"{source.name}:{source.first}: nested too deep, or a number too long") from None


def _is_row(line: str) -> bool:
    try:
        return "data" not in json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return False


def _lines(name: str, lines: list[tuple[int, str]]) -> Iterator[tuple[str, list[tuple[dict, Place]]]]:
    for number, line in lines:
        if not line.strip():
            continue
        source = Source(name, line, number)
        try:
            yield _row(_parsed(source), Place(source))
        except json.JSONDecodeError as error:
            raise InputError(f"{name}:{number}: column {error.colno}: not JSON ({error.msg})") from None


def _row(row: Any, place: Place) -> tuple[str, list[tuple[dict, Place]]]:
    """A question with its context; answers as lists beside each other become a list of answers."""
    context, answers = _text(_is(row, dict, place), "context", place), row.get("answers")
    if isinstance(answers, dict):
        texts, starts = (_field(answers, name, list, place.down("answers")) for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise InputError(f"{place}: answers: {amount(len(texts), 'text')} but {amount(len(starts), 'place')}")
        answers = [{"text": text, "answer_start": at} for text, at in zip(texts, starts, strict=True)]
        row = {**row, "answers": answers}
    return context, [(row, place)]


def _paragraphs(tree: Any, place: Place) -> Iterator[tuple[str, list[tuple[dict, Place]]]]:
    """(context, [(question, its place)])."""
    for i, article in enumerate(_field(_is(tree, dict, place), "data", list, place)):
        at = place.down("data", i)
        for j, paragraph in enumerate(_field(_is(article, dict, at), "paragraphs", list, at)):
            here = at.down("paragraphs", j)
            context = _text(_is(paragraph, dict, here), "context", here)
            asked = [(question, here.down("qas", k)) for k, question in enumerate(_field(paragraph, "qas", list, here))]
            yield context, [(_is(question, dict, where), where) for question, where in asked]


def _answers(question: dict, context: str, place: Place) -> list[Answer]:
    found = []
    for n, answer in enumerate(_field(question, "answers", list, place)):
        at = place.down("answers", n)
        text, start = _text(_is(answer, dict, at), "text", at), _field(answer, "answer_start", int, at)
        stands = start >= 0 and context.startswith(text, start)
        found.append(Answer(text=text, start=start if stands else None, said=start))
    if "is_impossible" in question and _field(question, "is_impossible", bool, place) == bool(found):
        raise InputError(f"{place}: is_impossible: {json.dumps(bool(found))}, with {amount(len(found), 'answer')}")
    return found


def _field(tree: dict, name: str, kind: type, place: Place) -> Any:
    if name not in tree:
        raise InputError(f"{place}: {name}: is missing; {LAYOUT}")
    return _is(tree[name], kind, place, f": {name}")


def _is(value: Any, kind: type, place: Place, name: str = "") -> Any:
    if type(value) is not kind:
        raise InputError(f"{place}{name}: {kind_of(value)} where {NAMES[kind]} is expected")
    return value


def _name(question: dict, place: Place) -> str:
    """Some files number their questions."""
    name = question.get("id")
    return str(name) if type(name) is int else _text(question, "id", place)


def _text(tree: dict, name: str, place: Place, empty: bool = False) -> str:
    value = _field(tree, name, str, place)
    if not (value.strip() or empty):
        raise InputError(f"{place}: {name}: is empty")
    if SURROGATE.search(value):
        raise InputError(f"{place}: {name}: holds a lone surrogate, which is not text")
    return value
