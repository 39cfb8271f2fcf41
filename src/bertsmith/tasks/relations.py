"""Tasks about places in a text: which relation holds between two of them, and of which types one is.

Marks stand round each place, tokens of their own, and the text is read as a whole (Zhang et al. 2019, section 3.5).  A model that reads
entities is given those of the places, too, where it has their vectors; any other reads the same text without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.tasks.given import Given
from bertsmith.tasks.mentions import FIELDS, Mentioned, Place, read_mentioned
from bertsmith.tasks.multilabel import MultiLabel
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Builder, Encoded
from bertsmith.tasks.texts import Classes

Array = np.ndarray
SPECIAL = 1 << 30  # in place of what is no token of the text


class Marked:
    """Texts with places that are marked: two of them (`both`), or one."""

    marks: ClassVar[dict[str, str]]
    both: ClassVar[bool]

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Mentioned:
        return read_mentioned(path, self.both, columns, labelled, encoding)

    def encode(self, tokenizer: Any, table: Any, reading: Reading, pairs: bool | None = None) -> Encoded:
        return encode(tokenizer, table, reading, [*self.marks])


@dataclass(frozen=True)
class Relations(Marked, Classes):
    """One of several relations between a head and a tail."""

    name: str = "relation"
    marks: ClassVar[dict[str, str]] = {
        "[HD]": "head",
        "[TL]": "tail",
    }  # and the word whose row of the table each begins with
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
    fields: tuple[str, ...] = FIELDS
    lacking: ClassVar[bool] = False
    both: ClassVar[bool] = True


@dataclass(frozen=True)
class Typing(Marked, MultiLabel):
    """Any number of several types of a mention."""

    name: str = "typing"
    marks: ClassVar[dict[str, str]] = {"[ENT]": "entity"}
    both: ClassVar[bool] = False
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
    fields: tuple[str, ...] = FIELDS


def encode(tokenizer: Any, table: Mentioned, reading: Reading, marks: list[str]) -> Encoded:
    """Each text with its marks, read at [CLS].  One that is too long is cut at both ends, so that its places stay.

    InputError for a tokenizer without the marks, and for places that are further apart than a sequence is long.
    """
    signs = [tokenizer.backend.token_to_id(mark) for mark in marks]
    if None in signs:
        raise InputError(
            f"the tokenizer has no token {marks[signs.index(None)]}; fine-tune a model by itself, which gives it one"
        )
    if reading.on_long == "window":
        raise InputError(
            f"{option('on_long', 'window')}: a place is read once here; {option('on_long', 'truncate')} or {option('on_long', 'error')}"
        )
    builder, known, features = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False), tokenizer.entities, []
    named = linked = 0
    for i, (ids, characters) in enumerate(tokenizer.located(table.columns["text"])):
        places, links = table.columns["places"][i], table.columns["links"][i]
        numbers = {place: known.get(place[2], -1) + 1 for place in (*places, *links) if place[2] is not None}
        named, linked = named + len(numbers), linked + sum(number > 0 for number in numbers.values())
        tokens, entities, inside = marked(ids, characters, places, numbers, signs)
        begin, end = _kept(inside, len(tokens), builder.room, reading, lambda i=i: table.where(i))
        builder.counts["long"] += len(tokens) > builder.room
        builder.counts["cut"] += len(tokens) - (end - begin)
        builder.add(i, tokens[begin:end])
        if known:
            features.append(_laid(entities[begin:end], tokenizer.vocab, reading))
    notes = (f"{linked:,} of {amount(named, 'named entity', 'named entities')} have vectors here",) if known else ()
    found = builder.encoded(len(table), notes)
    return replace(found, features={"entity": np.concatenate(features)}) if features else found


def marked(
    ids: Array, characters: Array, places: tuple[Place, ...], numbers: Mapping[Place, int], signs: list[int]
) -> tuple[Array, Array, tuple[int, int]]:
    """Tokens with a sign before and behind each place; the entity (from 1) that begins at each token, 0 elsewhere; from the first sign to
    behind the last."""
    begins, ends = characters.T
    spans = {
        place: (int(np.searchsorted(ends, place[0], "right")), int(np.searchsorted(begins, place[1])))
        for place in (*places, *numbers)
    }
    entities = np.zeros(len(ids), np.int64)
    for place, number in numbers.items():
        if spans[place][0] < len(ids):
            entities[spans[place][0]] = number
    events = [(spans[place][1], 0, signs[k % len(signs)]) for k, place in enumerate(places)]
    events += [(spans[place][0], 1, signs[k % len(signs)]) for k, place in enumerate(places)]
    events.sort(key=lambda event: event[:2])
    at = [event[0] for event in events]
    tokens = np.insert(np.asarray(ids, np.int32), at, [event[2] for event in events])
    inside = at[0], at[-1] + len(events)
    return tokens, np.insert(entities, at, 0), inside


def _kept(inside: tuple[int, int], size: int, room: int, reading: Reading, where: Any) -> tuple[int, int]:
    """The tokens that a sequence shows, with all places in the middle."""
    first, last = inside
    if size <= room:
        return 0, size
    reading.views(size, room, where)  # raises where on_long is "error"
    if last - first > room:
        raise InputError(
            f"{where()}: its places are {last - first:,} tokens apart, and a sequence has room for {room:,}"
        )
    begin = min(max(0, (first + last - room) // 2), size - room)
    return begin, begin + room


def _laid(entities: Array, vocab: Any, reading: Reading) -> Array:
    """Of a whole sequence, specials included."""
    places, _ = reading.joined(vocab, np.arange(len(entities), dtype=np.int64) + SPECIAL)
    text = np.asarray(places, np.int64) >= SPECIAL
    found = np.zeros(len(places), np.int64)
    found[text] = entities
    return found
