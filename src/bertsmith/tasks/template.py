"""Texts put together from the columns of a row: "premise: {premise} hypothesis: {hypothesis}".

A column stands in braces by its name, or by its number where a file has no header; "{{" is a brace.  "{score:.1f}" is a number, formatted
as Python does it.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option

Part = tuple[str, str | None, str]  # what stands before a column, its name (None: the end), how it is formatted


@dataclass(frozen=True)
class Template:
    """`name`: of the option that gives it.  `step`: numbers are rounded to multiples of it, halves to even (T5's STS-B: 0.2)."""

    text: str
    name: str = "template"
    step: float | None = None

    def __post_init__(self):
        if not self.columns:
            raise InputError(
                f"{option(self.name, self.text)}: names no column; those of the file stand in braces: {{text}}"
            )
        if self.step is not None and not (isinstance(self.step, (int, float)) and 0 < self.step < math.inf):
            raise InputError(f"{option(self.name + '_step', self.step)}: expected a number above 0, such as 0.2")

    @cached_property
    def parts(self) -> list[Part]:
        try:
            found = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise self._wrong(f"{error}; a brace itself is {{{{ or }}}}") from None
        for _, name, spec, conversion in found:
            if conversion:
                raise self._wrong(f"!{conversion} after a column; nothing of that kind is known")
            if name is not None and (not name.strip() or "{" in (spec or "")):
                raise self._wrong("braces without the name of a column")
        return [(before, None if name is None else name.strip(), spec or "") for before, name, spec, _ in found]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once."""
        return tuple(dict.fromkeys(name for _, name, _ in self.parts if name is not None))

    def filled(self, row: Mapping[str, Any], where: str) -> str:
        """The text of a row.  InputError for what is no number where one is formatted or rounded."""
        return "".join(
            before if name is None else before + self._value(row[name], spec, f"{where}: {printable(name)}")
            for before, name, spec in self.parts
        ).strip()

    def _value(self, value: Any, spec: str, where: str) -> str:
        if not spec and self.step is None:
            return shown(value)
        number = number_of(value)
        if number is None:
            raise InputError(
                f"{where}: {printable(shown(value), 40)!r} is not a number, and {option(self.name)} formats it as one"
            )
        if self.step is not None:
            number = round(number / self.step) * self.step
            spec = spec or f".{decimals(self.step)}f"
        try:
            return format(int(number) if spec[-1] in "dxXobc" else number, spec)
        except ValueError as error:
            raise self._wrong(f"{printable(error)}; {{column:.1f}} rounds a number") from None

    def _wrong(self, why: str) -> InputError:
        return InputError(f"{option(self.name, self.text)}: {why}")


def shown(value: Any) -> str:
    """As JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number_of(value: Any) -> float | None:
    """None of what is no finite number."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def decimals(step: float) -> int:
    """Of a number as people write it."""
    return len(f"{step:.10f}".rstrip("0").partition(".")[2])
