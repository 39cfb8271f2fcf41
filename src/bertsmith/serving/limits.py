"""What one request, and all of them together, may ask of a server: numbers that its user may set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every one is above 0."""

    bytes: int = 2_000_000  # of a body, unpacked
    texts: int = 256  # of a request
    characters: int = 200_000  # of all texts of a request
    tokens: int = 16_384  # of all texts of a request, as the model reads them, windows included
    masks: int = 64  # of a request
    top: int = 100  # answers to one thing that is asked
    write: int = 256  # new tokens of a text
    beam: int = 8
    attend: int = 128  # tokens of a text whose attention is told
    share: int = 8192  # tokens that share a pass
    queue: int = 256  # requests that were taken and are not answered yet
    connections: int = 512
    seconds: float = 30.0  # from taking a request to its answer
    slow: float = 15.0  # seconds that a request may take to come, and a client to take some of its answer
    drain: float = 10.0  # seconds after SIGTERM that what was taken has to be answered


def limits(given: Mapping[str, Any] | Iterable[str]) -> Limits:
    """{"texts": 32} or ["texts=32"] over the defaults.  InputError for what is none of them, and for what is not above 0."""
    pairs = given.items() if isinstance(given, Mapping) else [part.partition("=")[::2] for part in given]
    kinds = {each.name: type(each.default) for each in fields(Limits)}
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in kinds:
            raise InputError(f"{option('limits', f'{name}={value}')}: unknown; {nearest(str(name), kinds)}")
        try:
            found[name] = kinds[name](value)
        except (TypeError, ValueError):
            found[name] = 0
        if isinstance(value, bool) or not 0 < found[name] < 2**40:
            what = "a whole number" if kinds[name] is int else "a number of seconds"
            raise InputError(f"{option('limits', f'{name}={printable(value, 40)}')}: {what} above 0 is wanted")
    return replace(Limits(), **found)
