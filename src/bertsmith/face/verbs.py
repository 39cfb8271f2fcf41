"""A verb of the package as `bertsmith.NAME`: arguments checked, `say` and `progress` by where it is called from, the result a `Result`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from bertsmith.face import notebook
from bertsmith.face.arguments import checked
from bertsmith.face.results import Result

PLAIN = {"fill", "members", "verify"}  # results that are what they are


@functools.cache
def verb(function: Callable) -> Callable:
    """`function`, with its signature and its docstring.  InputError, before it is called, for an argument of a kind that it does not take.

    `say=None` and `progress=None` are silence; where neither is given, a notebook shows both and anything else neither.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        for name, value in bound.arguments.items():
            bound.arguments[name] = checked(function.__name__, signature.parameters[name], value)
        if notebook.here():
            watch = notebook.Watch()
            for name in notebook.SHOWN & signature.parameters.keys() - bound.arguments.keys():
                bound.arguments[name] = getattr(watch, name)
        found = function(*bound.args, **bound.kwargs)
        return Result(found) if type(found) is dict and function.__name__ not in PLAIN else found

    call.__module__ = "bertsmith"
    return call
