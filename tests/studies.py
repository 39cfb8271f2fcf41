"""A study small enough to be made in seconds and killed at any time: its file, with changes, and what of its folder must be the same bytes."""

import json
from pathlib import Path
from typing import Any

from tests.runs import SMALL

WORDS = [one for one in SMALL if not one.startswith(("training.checkpoint", "training.evaluate"))]
TINY = {name: json.loads(value) for name, value in (one.split("=") for one in WORDS)} | {
    "training.precision": "float32"
}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}" = {toml(one)}' for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def arm(name: str, recipe: str = "roberta:tiny", **sets: Any) -> dict[str, Any]:
    return {"name": name, "recipe": recipe, "set": {**TINY, **{key.replace("__", "."): v for key, v in sets.items()}}}


def task(tasks: dict, name: str = "classify", **more: Any) -> dict[str, Any]:
    kind, train, dev = tasks[name]
    return {"name": name, "task": kind, "train": train, "dev": dev, "batch": 8, "length": 32, **more}


def written(path: Path, **tables: Any) -> Path:
    """A file of these tables; lists are [[name]]."""
    lines = []
    for name, given in tables.items():
        for table in given if isinstance(given, list) else [given]:
            lines.append(f"[[{name}]]" if isinstance(given, list) else f"[{name}]")
            lines += [f'"{key}" = {toml(value)}' for key, value in table.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def small(path: Path, store: Any, tasks: dict, **changes: Any) -> Path:
    """Two members, two seeds, one task."""
    tables = {
        "data": {"store": store.path},
        "budget": {"steps": 6},
        "runs": {"seeds": 2, "threads": 1, "curve": 2, "held_out": 64},
        "arm": [arm("one"), arm("two", corruption__select__rate=0.4)],
        "task": [task(tasks)],
        "tuning": [{"name": "full", "steps": 4}],
    }
    return written(path, **{name: given for name, given in {**tables, **changes}.items() if given is not None})


def alone(store: Any) -> dict[str, Any]:
    """The tables of a study of one member, read on nothing."""
    return {"data": {"store": store.path}, "budget": {"steps": 1}, "arm": [arm("one", training__batch=64)]}


def kept(out: Path) -> dict[str, bytes]:
    """Results, and what came out of every cell."""
    cells = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("cells/*/*")) if path.is_file()}
    return {name: (out / name).read_bytes() for name in ("study.json", "study.html", "plan.json")} | cells
