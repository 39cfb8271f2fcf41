"""Errors of a request, all of one shape: {"error": {"field", "message"}}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from bertsmith.errors import InputError

FIELD = re.compile(r"(texts|rows|questions|input|among)\[(\d+)\](?:: ([a-z_0-9]+))?: (.*)", re.DOTALL)
OPTION = re.compile(r"([a-z_]+)=([^:]*): (.*)", re.DOTALL)  # as spelling.option names an argument


class Refused(HTTPException):
    """`field`: of the request, "" where it is none of them; `after`: seconds to wait before another try."""

    def __init__(self, status: int, message: str, field: str = "", after: int | None = None):
        super().__init__(status, detail=message, headers=None if after is None else {"Retry-After": str(after)})
        self.field = field


def shape(message: str, field: str = "") -> dict[str, Any]:
    return {"error": {"field": field, "message": message}}


def body(status: int, message: str, field: str = "", headers: Mapping[str, str] | None = None) -> Response:
    return answer(shape(message, field), status, headers)


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """As JSON, which has no NaN."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), status, headers, "application/json")


def of_input(error: InputError, hidden: Mapping[str, str]) -> Refused:
    """What a verb says of what it does not take, as a field of the request; `hidden`: what is not to be told (where a model lies), and what
    stands in its place."""
    message, field = str(error), ""
    for secret, name in hidden.items():
        message = message.replace(secret, name)
    if found := FIELD.match(message):
        name, number, inside, message = found.groups()
        field = f"{name}[{number}]" + (f".{inside}" if inside and name in ("rows", "questions") else "")
    elif found := OPTION.match(message):
        field, value, message = found.groups()
        message = f"{value}: {message}"
    return Refused(422, message, field)
