"""Rows with places in their text: the two ends of a relation, or the mention of which a type is asked.

A row is an object a line (.jsonl), one of an array, or one of FewRel's object of lists by relation (.json).  Its text stands in `text` or
`sent`, or as words in `token` or `tokens`, which blanks part.  Ends and mentions are

    [start, end], [start, end, "Q90"]              in characters: `head` and `tail`, or `mention`
    {"pos": [start, end], "id": "Q90"}             in words where the text is words: `h` and `t` (OpenNRE)
    ["a name", "Q90", [[3, 4], …]]                 the first of the places, by the numbers of its words: `h` and `t` (FewRel)
    subj_start, subj_end, obj_start, obj_end       numbers of words, the last included (TACRED)
    start, end                                     in characters (OpenEntity)

and further entities in `links` (or `ents`): [[start, end, id], …], or [[id, start, end, …], …] as the released files of ERNIE have them, of
which the first two are the ends where nothing else says.  Labels stand in `label`, `relation`, or `labels`.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import Lines, standing
from bertsmith.tasks.table import Table

Place = tuple[int, int, str | None]  # characters, and the id of an entity
WORDS, TEXT = ("token", "tokens"), ("text", "sent")
ENDS = (("h", "head"), ("t", "tail"))
LABELS = ("label", "relation", "labels")
FIELDS = (*TEXT, *WORDS, *ENDS[0], *ENDS[1], "mention", "start", "end", "links", "ents", *LABELS)
FIELDS += ("subj_start", "subj_end", "obj_start", "obj_end")


@dataclass(frozen=True, kw_only=True)
class Mentioned(Table):
    """`columns["places"][i]`: the places that are marked; `columns["links"][i]`: other entities."""

    def inputs(self) -> list[Hashable]:
        return list(zip(self.columns["text"], self.columns["places"], strict=True))


def read_mentioned(
    path: str | Path | Given, ends: bool, columns: Mapping[str, str] | None, labelled: bool, encoding: str
) -> Mentioned:
    """`ends`: whether a row has two places, those of a relation, or one.  InputError naming the line of a row that is none."""
    names = {**(columns or {})}
    source = path if isinstance(path, Given) else Path(path)
    found: dict[str, list[Any]] = {"text": [], "places": [], "links": []}
    lines = []
    for number, row, relation in objects(source, encoding):
        where = standing(source, number)
        try:
            text, words = _text(row, names.get("text"))
            places, links = (_two if ends else _one)(row, words)
        except (KeyError, TypeError, ValueError, IndexError):
            what = "a text with the places of head and tail" if ends else "a text with the place of a mention"
            raise InputError(f"{where}: {what} is wanted, such as {_like(ends)}") from None
        for begin, end, *_ in (*places, *links):
            if not 0 <= begin < end <= len(text):
                raise InputError(f"{where}: [{begin}, {end}] is no part of a text of {len(text):,} characters")
        if labelled:
            found.setdefault("label", []).append(_label(row, relation, names.get("label"), where))
        for name, value in (("text", text), ("places", places), ("links", links)):
            found[name].append(value)
        lines.append(number)
    if not lines:
        raise InputError(f"{printable(source)}: holds no rows")
    return Mentioned(path=source if isinstance(source, Given) else str(source), columns=found, lines=lines)


def objects(source: Path | Given, encoding: str) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """(line, row, its relation where it stands below it) of a file of any of the forms; of one document rows are numbered instead."""
    lines = [(number, line) for number, line in Lines(source, encoding) if line.strip()]
    whole = None
    if lines and (lines[0][1].lstrip().startswith("[") or _lists(lines[0][1])):
        try:
            whole = json.loads("\n".join(line for _, line in lines))
        except (ValueError, RecursionError) as error:
            what = (
                printable(error) if isinstance(error, json.JSONDecodeError) else "nested too deep, or a number too long"
            )
            raise InputError(f"{printable(source)}: not JSON: {what}") from None
    if whole is not None:
        rows = [(row, None) for row in whole] if isinstance(whole, list) else None
        for number, (row, relation) in enumerate(rows or [(r, name) for name in whole for r in whole[name]], 1):
            if not isinstance(row, dict):
                raise InputError(f"{standing(source, number)}: an object is wanted")
            yield number, row, relation
        return
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{standing(source, number)}: not an object of JSON")
        yield number, row, None


def _lists(line: str) -> bool:
    """Whether a file begins as an object of lists, or one that goes on over several lines."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line.strip() == "{"
    return isinstance(row, dict) and bool(row) and all(_rows(value) for value in row.values())


def _rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _text(row: dict[str, Any], name: str | None) -> tuple[str, list[tuple[int, int]] | None]:
    """The text, and of words where each stands in it."""
    for key in (name,) if name else (*TEXT, *WORDS):
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return value, None
        if isinstance(value, list) and value:
            places, at = [], 0
            for word in value:
                places.append((at, at + len(word)))
                at += len(word) + 1
            return " ".join(value), places
    raise KeyError


def _two(row: dict[str, Any], words: Any) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    links = _links(row, words)
    if "subj_start" in row:
        ends = [_of_words(words, row[f"{end}_start"], row[f"{end}_end"] + 1, None) for end in ("subj", "obj")]
        return tuple(_named(end, links) for end in ends), links
    given = [next((row[key] for key in keys if key in row), None) for keys in ENDS]
    if given == [None, None] and len(links) >= 2:
        return links[:2], links[2:]
    return tuple(_named(_place(end, words), links) for end in given), links


def _one(row: dict[str, Any], words: Any) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    links = _links(row, words)
    if "mention" in row:
        return (_named(_place(row["mention"], words), links),), links
    return (_named((int(row["start"]), int(row["end"]), None), links),), links


def _place(value: Any, words: Any) -> Place:
    if isinstance(value, dict):
        (begin, end), name = value["pos"], value.get("id")
        return _of_words(words, begin, end, name) if words else (int(begin), int(end), _id(name))
    if isinstance(value[0], str):
        numbers = value[2][0]
        return _of_words(words, min(numbers), max(numbers) + 1, value[1])
    begin, end, *name = value
    return int(begin), int(end), _id(name[0] if name else None)


def _of_words(words: Any, begin: int, end: int, name: Any) -> Place:
    if not 0 <= begin < end <= len(words):
        raise ValueError
    return words[begin][0], words[end - 1][1], _id(name)


def _links(row: dict[str, Any], words: Any) -> tuple[Place, ...]:
    found = []
    for one in row.get("links") or row.get("ents") or ():
        name, begin, end = one[:3] if isinstance(one[0], str) else (one[2], one[0], one[1])
        found.append((int(begin), int(end), _id(name)))
    return tuple(found)


def _named(place: Place, links: tuple[Place, ...]) -> Place:
    """With the entity that is linked at the same place, where it has none of its own."""
    begin, end, name = place
    return begin, end, name or next((other for a, b, other in links if (a, b) == (begin, end)), None)


def _id(name: Any) -> str | None:
    return None if name in (None, "", -1) else str(name)


def _label(row: dict[str, Any], relation: str | None, name: str | None, where: str) -> Any:
    if relation is not None:
        return relation
    for key in (name,) if name else LABELS:
        if key in row:
            return row[key]
    raise InputError(f"{where}: has no label; {', '.join(LABELS)} are known, and --columns label=NAME names another")


def _like(ends: bool) -> str:
    places = '"head": [0, 5, "Q90"], "tail": [9, 15, "Q142"]' if ends else '"mention": [0, 5, "Q90"]'
    return f'{{"text": "Paris is …", {places}, "label": …}}'
