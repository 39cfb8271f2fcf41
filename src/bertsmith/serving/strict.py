"""A body as JSON, and nothing that only nearly is: UTF-8, no NaN, no number beyond a double's, no name twice, no depth without end."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from starlette.requests import Request

from bertsmith.serving.refused import Refused

DEPTH = "nested too deeply"
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # which of them are halves without the other, what is read tells


class Strict(Request):
    """Whose `json()` is strict; 400 otherwise."""

    async def json(self) -> Any:
        return parsed(await self.body())


def parsed(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(f"byte {error.start}: not UTF-8") from None
    if not text.strip():
        raise _wrong("is empty; a JSON object is wanted")
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
        if SURROGATE.search(body):
            _check_text(found, "")
        return found
    except json.JSONDecodeError as error:
        raise _wrong(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _wrong(DEPTH) from None
    except ValueError:  # of a whole number of thousands of digits
        raise _wrong("a number of too many digits") from None


def _check_text(value: Any, field: str) -> None:
    """Refused for a text that UTF-8 has no bytes for."""
    if isinstance(value, dict):
        for name, inside in value.items():
            _check_text(name, field or "body")
            _check_text(inside, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            _check_text(inside, f"{field}[{number}]")
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        at = next(i for i, c in enumerate(value) if "\ud800" <= c <= "\udfff")
        raise Refused(400, f"character {at}: half a surrogate pair, which is not text", field)


def _wrong(message: str) -> Refused:
    return Refused(400, message, "body")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(400, "stands there twice", twice[:60].encode("utf-8", "replace").decode())
    return found


def _constant(text: str) -> Any:
    raise _wrong(f"{text} is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _wrong("a number beyond what a double holds")
    return value
