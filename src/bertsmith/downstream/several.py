"""One task of a run of several: `RUN:rte`, wherever a MODEL is wanted.  What config.json says of the run becomes what it would say of that task.

No torch is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks.labels import CHOSEN

KIND = "multitask"  # of the task of a run that was tuned to several
PARTS = ("train", "dev")

Config = dict[str, Any]


def tasks_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What config.json says of each task of a run of several; {} of any other."""
    feeds = (config.get("data") or {}).get("feeds") or {}
    return {name: feed["task"] for name, feed in feeds.items() if "task" in feed}


def chosen(config: Config, name: str, path: Path) -> tuple[str, Config]:
    """The name of a task and the configuration of its model; without a name that of the only one, or ("", that of the run, which has no task).

    InputError for a name that none of them has.
    """
    tasks = tasks_of(config)
    if name and name not in tasks:
        raise InputError(not_one(path, name, tasks))
    feeds = (config.get("data") or {}).get("feeds") or {}
    name = name or (next(iter(tasks)) if len(feeds) == 1 and tasks else "")
    if not name:
        alone = config if (config.get("task") or {}).get("kind") != KIND else {**config, "task": None}
        return "", alone
    data = {part: what for part, what in config["data"].items() if part != "feeds"}
    data |= {part: feeds[name][part] for part in PARTS if part in feeds[name]}
    return name, {**config, "kind": "finetune", "task": {**(config.get("task") or {}), **tasks[name]}, "data": data}


def with_chosen(config: Config, result: Mapping[str, Any]) -> Config:
    """`config` of a fine-tuning with what its best step chose on the dev rows (thresholds, temperatures)."""
    tasks = tasks_of(config)
    if not tasks:
        return {**config, "task": {**config["task"], **_chosen(result)}}
    feeds = {**config["data"]["feeds"]}
    for name, task in tasks.items():
        found = (result.get("tasks") or {}).get(name) or {}
        feeds[name] = {**feeds[name], "task": {**task, **_chosen(found)}}
    return {**config, "data": {**config["data"], "feeds": feeds}}


def result_of(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What result.json says, of one task where `name` is given."""
    return {**result, **result["tasks"][name]} if name and name in (result.get("tasks") or {}) else {**result}


def not_one(path: Path | str, name: str, tasks: Iterable[str]) -> str:
    tasks = [*tasks]
    if not tasks:
        return f"{printable(path)}: is no run of several tasks, and has none called {printable(name)}"
    return f"{printable(path)}: no task {printable(repr(name))}; {nearest(name, tasks)}"


def unnamed(path: Path | str, tasks: Iterable[str]) -> str:
    """What is said where one task of several must be named."""
    shown = " or ".join(f"{printable(path)}:{name}" for name in [*tasks][:4])
    return f"{printable(path)}: was tuned to several tasks; name one: {shown}"


def fitting(config: Mapping[str, Any], kind: str, labels: Iterable[str], pairs: bool, sha256: str) -> list[str]:
    """Tasks of a run whose heads say what another task asks: of its kind, with its labels; the one that learned the same file, where one did."""
    wanted = (kind, [*labels], pairs)
    tasks = tasks_of(config)
    found = [name for name, task in tasks.items() if (task["kind"], task["labels"], task["pairs"]) == wanted]
    feeds = (config.get("data") or {}).get("feeds") or {}
    same = [name for name in found if (feeds[name].get("train") or {}).get("sha256") == sha256]
    return same or found


def of_text(loaded: Any) -> bool:
    """Whether the heads of a loaded model are those of a pre-training: of a run of several tasks those of its text, where it had one."""
    tasks, feeds = tasks_of(loaded.config), (loaded.config.get("data") or {}).get("feeds") or {}
    return loaded.task is None and not (tasks and len(tasks) == len(feeds))


def check_named(loaded: Any) -> None:
    """InputError for a model of several tasks, none of them named, that has no other heads."""
    if loaded.task is None and not of_text(loaded):
        raise InputError(unnamed(loaded.run, tasks_of(loaded.config)))


def _chosen(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in CHOSEN if name in found}
