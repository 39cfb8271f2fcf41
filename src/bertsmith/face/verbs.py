"""A verb of the package as `bertsmith.NAME`: arguments checked, `say` and `progress` by where it is called from, the result a `Result`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from bertsmith.errors import InputError, nearest
from bertsmith.face import notebook
from bertsmith.face.arguments import checked
from bertsmith.face.results import Result

PLAIN = {"attention", "fill", "members", "tree", "verify"}  # results that are what they are


MANY = "torchrun starts them: `torchrun --nproc-per-node N SCRIPT`; only the commands pretrain, finetune, multitask, glue and clue do it themselves"


@functools.cache
def verb(function: Callable) -> Callable:
    """`function`, with its signature and its docstring.  InputError, before it is called, for an argument that it has not, for one that is
    missing, and for one of a kind that it does not take.

    `say=None` and `progress=None` are silence; where neither is given, a notebook shows both and anything else neither.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        bound = _bound(function.__name__, signature, args, options)
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


def _bound(name: str, signature: inspect.Signature, args: tuple, options: dict[str, Any]) -> inspect.BoundArguments:
    for given in options:
        if given not in signature.parameters:
            shared = given == "processes" and "shard" in signature.parameters
            way = MANY if shared else nearest(given, signature.parameters)
            raise InputError(f"{name}: there is no argument {given!r}; {way}")
    try:
        return signature.bind(*args, **options)
    except TypeError as error:  # one is missing, is given twice, or there are too many
        raise InputError(f"{name}: {error}; {name}{_short(signature)} is what it needs") from None


def _short(signature: inspect.Signature) -> str:
    """What must be given."""
    needed = [p for p in signature.parameters.values() if p.default is p.empty]
    return f"({', '.join(p.name + '=…' * (p.kind is p.KEYWORD_ONLY) for p in needed)})"
