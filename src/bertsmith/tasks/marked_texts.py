"""Texts with spans of characters that have a type, as rows of JSON, and the words that they are cut into.  n characters, p words.

    {"text": "…", "label": [[start, end, type], …]}                                   doccano, spaCy (also as "labels", "entities", "spans")
    {"text": "…", "spans": [{"start": …, "end": …, "label": …}, …]}                   Prodigy, whose rejected rows are passed over
    {"text": "…", "label": [{"start": …, "end": …, "labels": [type]}, …]}             Label Studio, also as one JSON array
    {"text": "…", "label": {type: {piece: [[first, last], …]}}}                       CLUENER, whose ends are part of the span

`start` and `end` count characters, `end` the one behind the last.  A word is a run of letters and digits or one other visible character, in
scripts that write no blanks one character with its marks.  Spans need not end where words do: words are parted there, which is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.joined import Joined
from bertsmith.tasks.readers import check_text, kind_of
from bertsmith.tasks.spans import OUTSIDE
from bertsmith.text.categories import category
from bertsmith.text.words import INVISIBLE, LETTER, OTHER, UNSPACED, classes, code_points

KEYS = ("label", "labels", "spans", "entities")  # where spans may stand
START, END = ("start", "start_offset", "begin"), ("end", "end_offset")
TYPE = ("label", "type", "labels", "tag", "entity", "entity_type")
FORM = '[start, end, type] or {"start": …, "end": …, "label": …}'


@dataclass(frozen=True, order=True)
class Marked:
    """The characters [start, end) of a text, and what they are."""

    start: int
    end: int
    kind: str


def read(text: str, marks: Any, where: str, counts: Counter[str]) -> tuple[Joined, list[str], str]:
    """The words of a text, their tags (B-, I-, O), and what is wrong where spans are nested or overlap, of which the longer ones have the tags.

    InputError for spans that are none; `counts`: words that are parted ("cut"), spans with blanks at their ends ("trimmed"), spans that are
    within others or overlap ("nested").
    """
    found, wrong = _apart(text, _spans(text, marks, where), where, counts)
    own = words(text)
    joined = parted(own, sorted({at for span in found for at in (span.start, span.end)}))
    counts["cut"] += len(joined.begins) - len(own.begins)
    tags = [OUTSIDE] * len(joined.begins)
    for span in found:
        first, end = np.searchsorted(joined.begins, [span.start, span.end]).tolist()
        if first == end:
            raise InputError(f"{where}: {_shown(text, span)} holds no word")
        counts["trimmed"] += text[span.start : span.end] != text[span.start : span.end].strip()
        tags[first:end] = [f"B-{span.kind}", *[f"I-{span.kind}"] * (end - first - 1)]
    return joined, tags, wrong


def words(text: str) -> Joined:
    """The words of a text, where they stand in it."""
    kinds = classes()[code_points(text)]
    marks = np.array([category(character)[0] == "M" for character in text], bool)
    seen = np.flatnonzero(kinds > INVISIBLE)
    own, mark = kinds[seen], marks[seen]
    before, gap = np.append(INVISIBLE, own[:-1]), np.zeros(len(seen), bool)
    blank = np.append(
        0, np.cumsum(kinds < INVISIBLE)
    )  # white space up to each character: it parts words, what is invisible does not
    gap[1:] = blank[seen[1:]] > blank[seen[:-1]]
    gap[:1] = True
    alone = (own == OTHER) | ((own == UNSPACED) & ~mark)
    behind = (before == OTHER) | ((before == UNSPACED) & (own == LETTER))
    starts = gap | alone | (behind & ~mark)
    at = np.flatnonzero(starts)
    last = np.append(at[1:], len(seen))[: len(at)] - 1
    return Joined(text=text, begins=seen[at], ends=seen[last] + 1)


def parted(own: Joined, cuts: list[int]) -> Joined:
    """The same words, parted at the characters `cuts` that stand inside one."""
    inside = [
        at for at in cuts if (i := int(np.searchsorted(own.begins, at)) - 1) >= 0 and own.begins[i] < at < own.ends[i]
    ]
    return Joined(
        text=own.text,
        begins=np.sort(np.append(own.begins, inside).astype(np.int64)),
        ends=np.sort(np.append(own.ends, inside).astype(np.int64)),
    )


def _spans(text: str, marks: Any, where: str) -> list[Marked]:
    if isinstance(marks, Mapping):
        return _by_type(text, marks, where)
    if marks is None:
        raise InputError(f"{where}: null: was nothing said of this text? one without spans has []")
    if not isinstance(marks, list):
        raise InputError(
            f"{where}: {kind_of(marks)} where a list of spans is expected, each {FORM}; texts that are one class as a whole are for {option('task', 'classify')}"
        )
    if marks and isinstance(marks[0], str):
        raise InputError(
            f"{where}: a list of tags beside a text that is a string; tags need a list of words, spans are {FORM}"
        )
    return [_span(text, mark, f"{where}.{i}") for i, mark in enumerate(marks)]


def _span(text: str, mark: Any, where: str) -> Marked:
    if isinstance(mark, list):
        if len(mark) != 3:
            raise InputError(f"{where}: a list of {amount(len(mark), 'value')}; a span is {FORM}")
        start, end, kind = mark
        if isinstance(start, str) and not isinstance(end, str):  # [type, start, end]
            start, end, kind = end, kind, start
        said = None
    elif isinstance(mark, Mapping):
        start, end, kind = (_first(mark, names, where) for names in (START, END, TYPE))
        said = mark.get("text", mark.get("value"))
        kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    else:
        raise InputError(f"{where}: {kind_of(mark)}; a span is {FORM}")
    if not isinstance(kind, str) or not kind.strip():
        raise InputError(
            f"{where}: its type is {'empty' if isinstance(kind, str) else kind_of(kind)}; a string is wanted"
        )
    check_text(kind, where)
    span = Marked(_place(start, where), _place(end, where), kind)
    _check(text, span, where)
    if isinstance(said, str) and said != text[span.start : span.end]:
        hint = (
            "; its end is the last character, not the one behind it" if said == text[span.start : span.end + 1] else ""
        )
        raise InputError(f"{where}: {_shown(text, span)}, but the file says {printable(repr(said), 40)}{hint}")
    return span


def _by_type(text: str, marks: Mapping[str, Any], where: str) -> list[Marked]:
    """CLUENER's, with the pieces as a check."""
    found = []
    for kind, pieces in marks.items():
        if not isinstance(pieces, Mapping):
            raise InputError(
                f"{where}.{printable(kind, 40)}: {kind_of(pieces)}; pieces of the text with their places are expected"
            )
        for piece, places in pieces.items():
            for place in places if isinstance(places, list) else [places]:
                at = f"{where}.{printable(kind, 40)}.{printable(piece, 40)}"
                if not (isinstance(place, list) and len(place) == 2):
                    raise InputError(f"{at}: {kind_of(place)} where [first, last] is expected")
                span = Marked(_place(place[0], at), _place(place[1], at) + 1, kind)
                _check(text, span, at)
                if text[span.start : span.end] != piece:
                    raise InputError(
                        f"{at}: {_shown(text, span)}, not {printable(repr(piece), 40)}; ends are part of a span here"
                    )
                found.append(span)
    return found


def _first(mark: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if name in mark:
            return mark[name]
    raise InputError(f"{where}: {names[0]}: is missing; a span is {FORM}")


def _place(value: Any, where: str) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise InputError(f"{where}: {printable(repr(value), 40)} is no place in a text; a whole number is, from 0")
    return value


def _check(text: str, span: Marked, where: str) -> None:
    what = f"[{span.start}, {span.end}]"
    if span.start > span.end:
        raise InputError(f"{where}: {what} ends before it starts")
    if span.start < 0 or span.end > len(text):
        raise InputError(
            f"{where}: {what} stands outside its text, of {amount(len(text), 'character')}; characters are counted, not bytes"
        )
    if span.start == span.end:
        raise InputError(f"{where}: {what} is empty; the end is the character behind the last")


def _apart(text: str, found: list[Marked], where: str, counts: Counter[str]) -> tuple[list[Marked], str]:
    """Spans that share no characters, the longer of two and the first of equals, in their order; what is wrong with the first of the others."""
    kept: list[Marked] = []
    wrong: list[str] = []
    for span in sorted({*found}, key=lambda span: (span.start - span.end, span)):
        other = next((one for one in kept if one.start < span.end and span.start < one.end), None)
        if other is None:
            kept.append(span)
            continue
        how = "stands within" if other.start <= span.start and span.end <= other.end else "overlaps"
        wrong.append(f"{where}: {_shown(text, span)} {how} {_shown(text, other)}")
    counts["nested"] += len(wrong)
    return sorted(kept), "; ".join(wrong[:1])


def _shown(text: str, span: Marked) -> str:
    return f"{printable(span.kind, 40)} [{span.start}, {span.end}] {printable(repr(text[span.start : span.end]), 40)}"
