"""Questions about texts out of SQuAD's json (1.1 and 2.0), and its official scores.

{"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": [{"text": …, "answer_start": …}]}]}]}]}; a question
without answers (2.0: is_impossible) has none in its text.  `answer_start` counts characters.  Also .gz, .xz, .zst.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.tasks.lines import Lines
from bertsmith.tasks.readers import kind_of

LAYOUT = 'SQuAD has {"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": […]}]}]}]}'
SURROGATE = re.compile("[\ud800-\udfff]")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
NAMES = {str: "a string", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`start` counts characters of the context; None where the text does not stand at the place that the file names."""

    text: str
    start: int | None


@dataclass(frozen=True)
class Source:
    """The text of a file.  Where in it an object stands is asked when something is wrong, and parsed for then."""

    name: str
    text: str

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
        at = 0
        for part in (None, *path):
            tree = tree if part is None else tree[part]
            at = begins.get(id(tree), at)
        return 1 + self.text.count("\n", 0, at)


@dataclass(frozen=True)
class Place:
    """An object of a file; as text its file, line and path."""

    source: Source
    path: tuple[str | int, ...] = ()

    def down(self, *path: str | int) -> Place:
        return Place(self.source, self.path + path)

    def __str__(self) -> str:
        where = ".".join(map(str, self.path))
        return f"{self.source.name}:{self.source.line(self.path)}{': ' if where else ''}{where}"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions of one file, in its order.  Question i asks about `contexts[about[i]]`."""

    path: str
    ids: list[str]
    questions: list[str]
    about: list[int]
    contexts: list[str]
    answers: list[list[Answer]]  # empty: it has none
    places: list[Place]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pairs: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, i: int) -> str:
        return f"{self.places[i]} ({printable(self.ids[i], 60)})"

    def inputs(self) -> list[Hashable]:
        return [(question, self.contexts[i]) for question, i in zip(self.questions, self.about, strict=True)]


def read(path: str | Path, *, labelled: bool = True) -> Questions:
    """InputError naming file, line and field for what is no SQuAD file, for empty questions and texts, and ids that stand there twice."""
    path = Path(path)
    source = Source(printable(path), "\n".join(line for _, line in Lines(path)))
    try:
        tree = json.loads(source.text, parse_constant=lambda constant: None)
    except json.JSONDecodeError as error:
        raise InputError(f"{source.name}:{error.lineno}: column {error.colno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{source.name}:1: nested too deep, or a number too long") from None
    found = Questions(path=str(path), ids=[], questions=[], about=[], contexts=[], answers=[], places=[])
    for context, asked in _paragraphs(tree, Place(source)):
        found.contexts.append(context)
        for question, place in asked:
            found.ids.append(_name(question, place))
            found.questions.append(_text(question, "question", place))
            found.about.append(len(found.contexts) - 1)
            found.answers.append(_answers(question, context, place) if labelled else [])
            found.places.append(place)
    if not found.ids:
        raise InputError(f"{source.name}:1: holds no questions")
    twice, many = Counter(found.ids).most_common(1)[0]
    if many > 1:
        first = found.ids.index(twice)
        raise InputError(f"{found.where(found.ids.index(twice, first + 1))}: id: stands in the file before")
    lost = sum(bool(answers) and all(a.start is None for a in answers) for answers in found.answers)
    if lost:
        note = f"the answers to {lost} questions do not stand where answer_start says: scored, not learned from"
        found.notes.append(f"{source.name}: {note}")
    return found


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
        found.append(Answer(text=text, start=start if stands else None))
    if "is_impossible" in question and _field(question, "is_impossible", bool, place) == bool(found):
        raise InputError(f"{place}: is_impossible: {json.dumps(bool(found))}, with {len(found)} answers")
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


def _text(tree: dict, name: str, place: Place) -> str:
    value = _field(tree, name, str, place)
    if not value.strip():
        raise InputError(f"{place}: {name}: is empty")
    if SURROGATE.search(value):
        raise InputError(f"{place}: {name}: holds a lone surrogate, which is not text")
    return value


# -- scores -------------------------------------------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous white space (Rajpurkar et al. 2016, section 6.1)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(said: str, golds: list[str]) -> float:
    """1.0 if what was said is one of the answers; no answer is ""."""
    return float(normalised(said) in {normalised(gold) for gold in _golds(golds)})


def overlap(said: str, golds: list[str]) -> float:
    """The best F1 of words with one of the answers; where one side has no words, whether both have none."""
    mine = normalised(said).split()
    return max(_f1(mine, normalised(gold).split()) for gold in _golds(golds))


def _golds(golds: list[str]) -> list[str]:
    """Those that something is left of, as evaluate-v2.0 has it; else the empty answer."""
    return [gold for gold in golds if normalised(gold)] or [""]


def _f1(mine: list[str], gold: list[str]) -> float:
    if not mine or not gold:
        return float(mine == gold)
    common = sum((Counter(mine) & Counter(gold)).values())
    return 2 * common / (len(mine) + len(gold))
