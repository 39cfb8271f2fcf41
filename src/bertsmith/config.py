"""Configurations are frozen dataclasses; this file is everything else they need: JSON out, JSON in, strict overrides.

A tree names classes of the installed bertsmith only (`{"type": "bertsmith.data.select:Tokens", "rate": 0.15}`), so a config
file can never name code to import.  A member of one's own is admitted by name: `from_dict(tree, members=("mypackage.mymember",))`.
"""

import dataclasses
import functools
import importlib
import json
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option, setting

PACKAGE = __name__.partition(".")[0]


def to_dict(config: Any) -> Any:
    """A JSON-safe tree; every dataclass carries its class under "type", so that a saved file rebuilds it."""
    if dataclasses.is_dataclass(config):
        cls = type(config)
        body = {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": f"{cls.__module__}:{cls.__qualname__}", **body}
    if isinstance(config, (list, tuple)):
        return [to_dict(item) for item in config]
    return config


def from_dict(tree: Any, members: tuple[str, ...] = (), where: str = "config") -> Any:
    """The configuration that `to_dict` wrote.  Unknown classes, unknown fields and wrong types are InputErrors that name the field."""
    if isinstance(tree, list):
        return tuple(from_dict(item, members, f"{where}.{i}") for i, item in enumerate(tree))
    if not isinstance(tree, dict):
        return tree
    cls = _class(tree.get("type"), members, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for name, value in tree.items():
        if name == "type":
            continue
        if name not in fields:
            raise InputError(f"{where}.{name}: {cls.__name__} has no field {name!r}; {nearest(name, fields)}")
        values[name] = checked(cls, name, from_dict(value, members, f"{where}.{name}"), f"{where}.{name}")
    try:
        return cls(**values)
    except TypeError as error:
        raise InputError(f"{where}: {cls.__name__}: {error}") from None


def completed(tree: Any) -> Any:
    """`tree`, as `to_dict` wrote it, with the fields that its classes have got since, by their defaults: so a new field must mean by default
    what was done before.  What names no class of ours is left as it is."""
    if isinstance(tree, list):
        return [completed(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    found = {name: completed(value) for name, value in tree.items()}
    try:
        fields = dataclasses.fields(_class(tree.get("type"), (), ""))
    except InputError:
        return found
    for f in fields:
        made = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        if f.name not in found and made is not dataclasses.MISSING:
            found[f.name] = to_dict(made)
    return found


def check_members(members: Iterable[str]) -> None:
    """InputError for modules of one's own that are not there, or have no configuration class."""
    for member in members:
        try:
            module = sys.modules.get(member) or importlib.import_module(member)
        except (ImportError, ValueError) as error:
            missing = (
                isinstance(error, ModuleNotFoundError) and error.name and f"{member}.".startswith(f"{error.name}.")
            )
            what = (
                "no such module"
                if missing or isinstance(error, ValueError)
                else f"cannot be imported: {printable(error)}"
            )
            raise InputError(
                f"{option('members', member)}: {what}; a module that Python finds is wanted, such as package.module"
            ) from None
        own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == member]
        if not any(map(dataclasses.is_dataclass, own)):
            raise InputError(
                f"{option('members', member)}: has no dataclass of its own, which the configuration of a run could name"
            )


def _class(name: Any, members: tuple[str, ...], where: str) -> type:
    module, _, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (module == PACKAGE or module.startswith(PACKAGE + ".") or module in members):
        raise InputError(
            f"{where}.type: {name!r} is not a class of {PACKAGE}; a member of your own loads with {option('members', 'package.module')}"
        )
    try:
        cls = getattr(sys.modules.get(module) or importlib.import_module(module), attribute, None)
    except ImportError:
        cls = None
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module):
        raise InputError(
            f"{where}.type: {PACKAGE} has no configuration class {name!r}; a newer version may have written it"
        )
    return cls


Settings = Mapping[str, Any] | Iterable[str]


def assignments_of(settings: Settings) -> list[str]:
    """`{"model.layers": 6}` or `["model.layers=6"]` as the latter.  InputError for anything else."""
    if isinstance(settings, Mapping):
        try:
            return [f"{name}={json.dumps(value)}" for name, value in settings.items()]
        except (TypeError, ValueError) as error:
            raise InputError(f"set: {error}; numbers, texts, lists, booleans and None can be set") from None
    if isinstance(settings, str) or not isinstance(settings, Iterable):
        raise InputError(f"set: {settings!r}: expected {{'model.layers': 6}} or ['model.layers=6']")
    found = list(settings)
    wrong = next((one for one in found if not isinstance(one, str)), None)
    if wrong is not None:
        raise InputError(f"set: {wrong!r}: expected a text such as 'model.layers=6'")
    return found


def override(config: Any, settings: Settings) -> Any:
    """`override(recipe, ["model.layers=6"])` or `{"model.layers": 6}`.  Raises InputError for an unknown name or a wrong type."""
    for assignment in assignments_of(settings):
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise InputError(f"{option('set', assignment)}: expected field=value, such as model.layers=6")
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError, ValueError):
            value = text
        config = _replace(config, path.split("."), value, path)
    return config


def _replace(config: Any, path: list[str], value: Any, whole: str) -> Any:
    head, *rest = path
    if isinstance(config, tuple):
        if not head.isdigit() or int(head) >= len(config):
            raise InputError(f"{setting(whole)}: {head!r} is not one of 0..{len(config) - 1}")
        items = list(config)
        items[int(head)] = _replace(items[int(head)], rest, value, whole) if rest else value
        return tuple(items)
    if not dataclasses.is_dataclass(config):
        raise InputError(f"{setting(whole)}: nothing below {head!r} can be set")
    fields = {f.name: f for f in dataclasses.fields(config)}
    head = getattr(config, "BELOW", {}).get(head, head) if rest else head
    moved = getattr(config, "MOVED", {}).get(head)
    if moved is not None and not (rest and head in fields):
        before = whole.removesuffix(".".join([head, *rest]))
        raise InputError(f"{setting(whole)}: stands elsewhere now: {before}{'.'.join([moved, *rest])}")
    if head not in fields:
        inside = [] if rest else _elsewhere(config, head)
        way = f"{setting(whole.removesuffix(head) + inside[0])} is meant" if len(inside) == 1 else nearest(head, fields)
        raise InputError(f"{setting(whole)}: {type(config).__name__} has no field {head!r}; {way}")
    old = getattr(config, head)
    if rest:
        value = _replace(old, rest, value, whole)
    elif dataclasses.is_dataclass(old):
        inside = ", ".join(f"{whole}.{f.name}" for f in dataclasses.fields(old))
        raise InputError(f"{setting(whole)}: is a group of fields; set one of {inside}")
    else:
        value = checked(type(config), head, tuple(value) if isinstance(value, list) else value, setting(whole))
    return dataclasses.replace(config, **{head: value})


SYNONYMS = {"learning_rate": "lr", "batch_size": "batch", "max_length": "length", "warmup_ratio": "warmup"}


def _elsewhere(config: Any, name: str) -> list[str]:
    """Where, below, a field of that name stands."""
    name = SYNONYMS.get(name, name)
    groups = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "brief"}
    return [
        f"{group}.{name}"
        for group, below in groups.items()
        if dataclasses.is_dataclass(below) and name in {f.name for f in dataclasses.fields(below)}
    ]


def checked(cls: type, name: str, value: Any, where: str) -> Any:
    """`value` as the annotation of field `name` of `cls` wants it; an int serves where a float is asked, a bool never as a number."""
    wanted = _hints(cls)[name]
    options = typing.get_args(wanted) if typing.get_origin(wanted) in (types.UnionType, typing.Union) else (wanted,)
    for one in options:
        kind = typing.get_origin(one) or one
        if kind is typing.Literal:
            if value in typing.get_args(one):
                return value
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        elif kind is float and isinstance(value, float):
            if not math.isfinite(value):
                raise InputError(f"{where}: {value} is not a finite number")
            return value
        elif kind in (Any, object):
            return value
        elif isinstance(kind, type) and isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
    raise InputError(f"{where}: expected {_spell(options)}, got {value!r} ({type(value).__name__})")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """What the fields of a class want; read once, as a recipe asks hundreds of times."""
    return typing.get_type_hints(cls)


def _spell(options: tuple) -> str:
    names = []
    for one in options:
        if typing.get_origin(one) is typing.Literal:
            names += map(repr, typing.get_args(one))
        else:
            names.append("null" if one is type(None) else getattr(one, "__name__", str(one)))
    return " or ".join(names)


def require(condition: bool, message: str) -> None:
    """Used by `__post_init__` of configurations: an InputError that names the value, the rule and the way out."""
    if not condition:
        raise InputError(message)
