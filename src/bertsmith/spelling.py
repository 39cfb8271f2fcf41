"""An option by the name that its reader has for it: `--resume` for one who typed a command, `resume=True` for one who called a function.

A message that names an option asks here.  Commands in backticks, and files that are for anybody to read (cards, reports), spell options as
the command does.  What a store keeps names them by the bare word in backticks, so that its bytes do not depend on who made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bertsmith.errors import printable

OTHERWISE = {
    "from_": "from",
    "new_heads": "new-head",
    "members": "member",
    "limits": "limit",
    "names": "name",
}  # arguments that a command calls otherwise
_typed = False  # of the process and not of a context: threads that read ahead raise errors, too


@contextmanager
def typed(way: bool = True) -> Iterator[None]:
    """While a command works that somebody typed; `way` False: while it works for others, who name what they ask as a function does."""
    global _typed
    before, _typed = _typed, way
    try:
        yield
    finally:
        _typed = before


def is_typed() -> bool:
    """For a process that does part of the work of this one."""
    return _typed


def option(name: str, *values: Any, like: str = "") -> str:
    """The argument `name` of a function; `values`: what it is, or may be; `like`: a word in the place of a value, such as FILE.

    `option("on_long", "window")`: `--on-long window`, on_long='window'; `option("header", False)`: `--header no`, header=False.
    """
    if _typed:
        return f"{_dashed(name)} {like or ' or '.join(map(_word, values))}".rstrip()
    said = like or " or ".join(map(_literal, values))
    return f"{name}={said}" if said else name


def flag(name: str) -> str:
    """An option that a command has without a value."""
    return _dashed(name) if _typed else f"{name}=True"


def setting(*fields: str, value: Any = None) -> str:
    """`--set model.layers=6`, set={'model.layers': 6}; without a value the field, or several."""
    if _typed:
        return f"--set {', '.join(map(printable, fields))}" + ("" if value is None else f"={_word(value)}")
    return f"set={{{', '.join(f'{_literal(field)}: {_literal(value)}' for field in fields)}}}"


def again() -> str:
    """What goes on with a run."""
    return f"the same {'command' if _typed else 'call'} with {flag('resume')}"


def _dashed(name: str) -> str:
    return "--" + OTHERWISE.get(name, name).replace("_", "-")


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else printable(value)


def _literal(value: Any) -> str:
    if value is None:
        return "…"
    return printable(repr(os.fspath(value) if isinstance(value, os.PathLike) else value))


def amount(count: float, noun: str, many: str = "", form: str = ",") -> str:
    """`1 step`, `2,000 steps`; `many`: the plural, where it is not the noun and s, or goes on (`row is`, `rows are`); `form`: the number's."""
    number = f"{count:{form}}"
    return f"{number} {noun if number == '1' else many or noun + 's'}"


def an(noun: str) -> str:
    """`a store`, `an export`: by its first sound, which in XLNet is that of a vowel, and in UniLM is not."""
    begins = noun.lower()
    vowel = begins.startswith(("xl", *"aeio")) or (begins.startswith("u") and not begins.startswith(("un", "us", "ut")))
    return f"{'an' if vowel else 'a'} {noun}"
