"""Rows of a labelled file, column by column."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks.given import Given
from bertsmith.tasks.lines import standing

ROLES = ("text", "text2", "label")
CHOICES = tuple(f"choice{number}" for number in range(27))  # texts that a row offers, where each has a column
GROUPED = (*ROLES, "group")  # with what rows that stay on one side have in common, where `columns` names it
TRIPLETS = (*ROLES, "negative")  # with a text that does not belong to the first one
EVERY = (*TRIPLETS, "group", "start", "end", "choices", *CHOICES)


def with_groups(columns: Mapping[str, str] | None) -> tuple[str, ...]:
    """The roles of a file: groups are read where they are named, never by the name of a column alone."""
    return GROUPED if "group" in (columns or ()) else ROLES


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one file.  `columns[role][i]` stands at `line(i)`; counts hold what was skipped or ignored."""

    path: str | Given
    columns: dict[str, list[Any]]
    lines: list[int]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what a user should know; the caller says them

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, i: int) -> str:
        return standing(self.path, self.lines[i])

    def rows(self, role: str) -> list[Any] | None:
        return self.columns.get(role)

    @property
    def pairs(self) -> bool:
        return "text2" in self.columns

    def inputs(self) -> list[Hashable]:
        """What a model sees of each row."""
        return list(zip(*(self.columns[role] for role in ("text", "text2") if role in self.columns), strict=True))

    def picked(self, which: Sequence[int]) -> Table:
        """These rows alone."""
        columns = {role: [values[i] for i in which] for role, values in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[i] for i in which])


def collect(path: Path | Given, rows, roles, counts: dict[str, int], notes: list[str]) -> Table:
    """`rows` yields (line number, values); `roles` names the values, or None where each row is a dict."""
    values: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, row in rows:
        pairs = row.items() if roles is None else zip(roles, row, strict=True)
        for role, value in pairs:
            values.setdefault(role, []).append(value)
        numbers.append(number)
    source = path if isinstance(path, Given) else str(path)
    return Table(path=source, columns=values, lines=numbers, counts=counts, notes=notes)


def check_one(places: Mapping[str, Any], where: str) -> None:
    """InputError where two roles, {role: its column}, are read from one column: `text=label` of a file with labels."""
    for number, (role, place) in enumerate(places.items()):
        other = next((one for one in [*places][:number] if places[one] == place), None)
        if other is not None:
            column = printable(repr(place) if isinstance(place, str) else f"number {place + 1}", 40)
            raise InputError(
                f"{where}: {other} and {role} are one column, {column}; {option('columns', f'{other}=NAME,{role}=NAME')} says which is which"
            )
