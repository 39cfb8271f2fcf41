"""Errors name an option as their reader has it: `--resume` for one who typed a command, `resume=True` in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bertsmith.errors import BertsmithError

ALIASES = {"from": "from_", "new_head": "new_heads", "member": "members"}
_typed = ContextVar("typed", default=False)


@contextmanager
def typed() -> Iterator[None]:
    """While a command works that somebody typed."""
    before = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(before)


@contextmanager
def spelled(names: dict[str, bool]) -> Iterator[None]:
    """`names`: the arguments that there are, and whether each is True or False."""
    try:
        yield
    except BertsmithError as error:
        if not _typed.get() and error.args and isinstance(error.args[0], str):
            error.args = (_in_python(error.args[0], names), *error.args[1:])
        raise


def _in_python(line: str, names: dict[str, bool]) -> str:
    def name(option: re.Match) -> str:
        said = option[1].replace("-", "_")
        said = ALIASES.get(said, said)
        if said not in names:
            return option[0]
        value = {"yes": "=True", "no": "=False", None: "=True"}[option[2]]
        return said + value if names[said] else f"{said} {option[2]}" if option[2] else said

    return re.sub(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)\b(?: (yes|no)\b)?", name, line)
