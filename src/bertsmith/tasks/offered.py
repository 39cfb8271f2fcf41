"""Rows that offer several texts to choose from: `text`, perhaps `text2` (a question), and the choices, as many as each row has.

.jsonl has a list, `choices`, or the columns that a table has: `choice1`, `choice2`, … (or from `choice0`), whose last ones may be empty.
The right one stands in `label`: its text, its number from 0 or from 1, or its letter, the same of these in all rows of a file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.given import Given
from bertsmith.tasks.readers import read
from bertsmith.tasks.table import CHOICES, Table

ROLES = ("text", "text2", "choices", "label", *CHOICES)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COUNTED = {"text": "its text", "0": "its number from 0", "1": "its number from 1", "A": "its letter"}


@dataclass(frozen=True, kw_only=True)
class Offered(Table):
    """`columns["choices"][i]`: a list of texts."""

    @property
    def choices(self) -> list[list[str]]:
        return self.columns["choices"]

    def inputs(self) -> list[Hashable]:
        return [(*texts, *choices) for texts, choices in zip(super().inputs(), self.choices, strict=True)]

    def seconds(self) -> list[str]:
        """What stands before each choice in its own text."""
        return self.rows("text2") or [""] * len(self)


def read_offered(
    path: str | Path | Given,
    columns: Mapping[str, str] | None,
    header: bool,
    required: tuple[str, ...],
    encoding: str,
) -> Offered:
    """InputError naming the line of a row with fewer than two choices, or an empty one."""
    table = read(
        path, columns=columns, header=header, required=required, encoding=encoding, roles=ROLES, lists=("choices",)
    )
    apart = [role for role in CHOICES if role in table.columns]
    if ("choices" in table.columns) == bool(apart):
        what = "both choices and choice1, …" if apart else "neither choices nor choice1, choice2, …"
        raise InputError(
            f"{printable(table.path)}: {what}: one says what there is to choose from; {option('columns', like='choice1=NAME,choice2=NAME')} says where they stand"
        )
    given = table.columns["choices"] if not apart else zip(*(table.columns[role] for role in apart), strict=True)
    found = [_texts(list(row) if apart else row, table.where(i), bool(apart)) for i, row in enumerate(given)]
    kept = {
        role: [_text(value) for value in table.columns[role]] for role in ("text", "text2") if role in table.columns
    }
    kept |= {"choices": found} | ({"label": table.columns["label"]} if "label" in table.columns else {})
    made = Offered(path=table.path, columns=kept, lines=table.lines, counts=table.counts, notes=table.notes)
    twice = [i for i, texts in enumerate(found) if len({*texts}) < len(texts)]
    if twice:
        many = amount(len(twice), "row offers", "rows offer")
        made.notes.append(
            f"warning: {made.where(twice[0])}: choices: {many} one text twice, which no model can tell apart"
        )
    return made


def counted(table: Offered) -> str:
    """How its labels name the right choice: a key of COUNTED.  InputError naming the first row that no way fits."""
    ways = [way for way in COUNTED if all(place(table, i, way) is not None for i in range(len(table)))]
    if not ways:
        most = max(COUNTED, key=lambda way: sum(_fits(table, i, way) for i in range(len(table))))
        known = any(_fits(table, i, most) for i in range(len(table)))
        place_of(table, next(i for i in range(len(table)) if place(table, i, most) is None), most if known else "")
    return ways[0]


def _fits(table: Offered, i: int, way: str) -> bool:
    """Whether row i says it so, be it of several choices that are one text."""
    if way == "text":
        return str(table.columns["label"][i]).strip() in table.choices[i]
    return place(table, i, way) is not None


def place(table: Offered, i: int, way: str) -> int | None:
    """The number from 0 of the right choice of row i; None where `way` does not tell."""
    value, choices = table.columns["label"][i], table.choices[i]
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip()
    if way == "text":
        return choices.index(text) if choices.count(text) == 1 else None
    if way == "A":
        at = LETTERS.find(text) if len(text) == 1 else -1
    else:
        at = int(text) - int(way) if way and text.isascii() and text.isdigit() and len(text) < 6 else -1
    return at if 0 <= at < len(choices) else None


def place_of(table: Offered, i: int, way: str) -> int:
    """The same.  InputError where `way` does not tell ("": no row of the file says how labels are meant)."""
    at = place(table, i, way)
    if at is None:
        value, choices = table.columns["label"][i], table.choices[i]
        shown, wanted = (
            printable(repr(value), 60),
            COUNTED.get(way) or f"{', '.join([*COUNTED.values()][:-1])} or its letter",
        )
        many = choices.count(str(value).strip()) if way == "text" else 0
        if many > 1:
            what = (
                f"{shown} names {many} of its {len(choices)} choices, which are one text; leave out {many - 1} of them"
            )
        elif str(value).strip() == "-1":
            what = f"{shown} says that the answer is not known; here a label is {wanted}"
        elif value in ("", None):
            what = f"is empty; here a label is {wanted}"
        else:
            what = f"{shown} is none of its {amount(len(choices), 'choice')}; here a label is {wanted}"
        raise InputError(f"{table.where(i)}: label: {what}")
    return at


def _texts(row: Any, where: str, apart: bool) -> list[str]:
    if not isinstance(row, list):
        raise InputError(f"{where}: choices: a list of texts is wanted")
    found = [_text(value).strip() for value in row]
    while apart and found and not found[-1]:  # a row with fewer choices than others
        found.pop()
    if len(found) < 2 or not all(found):
        what = "an empty choice" if len(found) > 1 else amount(len(found), "choice")
        raise InputError(f"{where}: choices: {what}; two or more texts are wanted")
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value)
