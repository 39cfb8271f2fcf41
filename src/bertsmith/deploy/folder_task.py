"""A task in words that a folder of Hugging Face format keeps, so that what was tuned to write is read as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertsmith.errors import InputError, printable

# Under `task_specific_params` of config.json, where T5's own files have the like.
PARAMS, NAME = "task_specific_params", "text2text"
KEPT: dict[str, type | tuple[type, ...]] = {
    "template": str,
    "target": str,
    "target_step": (int, float),
    "metric": str,
    "target_length": int,
    "length": int,
    "on_long": str,
    "labels": list,
    "mean": (int, float),
    "scale": (int, float),
    "numbers": bool,
    "columns": dict,
    "header": bool,
}
KEPT_AS = f"{PARAMS}.{NAME}"
NEEDED = {"target_length": 2, "length": 4, "num_beams": 1}  # and the least that each may be


def task_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The task that an export has kept, where config.json has one.  InputError naming what cannot be read."""
    params = config.get(PARAMS)
    said = params.get(NAME) if isinstance(params, dict) else None
    if not isinstance(said, dict):
        return None
    where = f"config.json: {KEPT_AS}"
    for name, least in NEEDED.items():
        value = said.get(name)
        if type(value) is not int or value < least:
            raise InputError(f"{where}.{name}: {printable(repr(value), 40)} is not a whole number of at least {least}")
    for name, kind in KEPT.items():
        if name in said and not isinstance(said[name], kind):
            raise InputError(f"{where}.{name}: {printable(repr(said[name]), 40)} is not what stands there")
    kept = {name: said[name] for name in KEPT if name in said}
    return {"kind": NAME, "labels": [], "pairs": False, **kept, "settings": {"beam": said["num_beams"]}}
