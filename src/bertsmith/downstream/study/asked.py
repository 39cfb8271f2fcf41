"""A study as it is asked for: arms, tasks, ways to tune them, seeds, and the budget of each pre-training.  No torch is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.labelled_files import Files
from bertsmith.downstream.tasks_file import named_shares

CURVE, HELD_OUT = 10, 2048  # exams of a pre-training; held-out tokens of which the likelihood is told
LISTS = ("arm", "task", "tuning")  # of tables with names


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A recipe with its settings; `line`: its name without its size; `scratch`: its fresh weights, which no text has taught."""

    name: str
    line: str
    recipe: str
    set: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    scratch: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    files: Files
    set: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a model is read on tasks; with `shares` on all of them at once (`multitask`)."""

    name: str
    method: str = "full"
    set: tuple[str, ...] = ()
    length: Mapping[str, float] = field(default_factory=dict)  # at most one of epochs, steps, tokens
    scratch: bool = False
    shares: Mapping[str, Any] | None = None  # {by, and options of that kind}
    each: str | None = None


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Of `eta` members one goes on; `rounds`: of these the last ones, null for as many as the members make."""

    eta: int = 2
    rounds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`where`: how the file is called in messages."""

    where: str
    store: str | None
    sources: tuple[str, ...]
    prepared: Mapping[str, Any]
    by: str  # what the budget counts
    budgets: tuple[float, ...]
    arms: tuple[Arm, ...]
    tasks: tuple[Task, ...]
    tunings: tuple[Tuning, ...]
    seeds: tuple[int, ...]
    halving: Halving | None = None
    threads: int | None = None
    curve: int = CURVE
    held_out: int = HELD_OUT
    keep: str = "models"
    members: tuple[str, ...] = ()
    slurm: Mapping[str, Any] = field(default_factory=dict)
    ray: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tree(self) -> dict[str, Any]:
        """What a study that goes on must find as it was, by name what may be added to.  Files count by their bytes."""
        data: dict[str, Any] = {"prepared": dict(self.prepared)}
        data["sources"] = [files.sha256(path) if Path(path).is_file() else path for path in self.sources]
        named = {
            "arm": {arm.name: {k: v for k, v in asdict(arm).items() if k != "name"} for arm in self.arms},
            "task": {task.name: of_task(task) for task in self.tasks},
            "tuning": {one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in self.tunings},
        }
        runs = {"curve": self.curve, "held_out": self.held_out, "members": self.members}
        found = {
            "data": data,
            "budget": {"by": self.by},
            "runs": runs,
            "halving": self.halving and asdict(self.halving),
        }
        return json.loads(json.dumps({**found, **named}))


def of_task(task: Task) -> dict[str, Any]:
    """Without paths: a file is its bytes."""
    given = {
        f.name: getattr(task.files, f.name) for f in fields(Files) if f.name not in ("train", "dev", "teacher", "few")
    }
    parts = {"train": files.sha256(task.files.train)}
    parts["dev"] = task.files.part or files.sha256(task.files.dev)
    return {**given, **parts, "set": task.set}


def shares_of(given: Mapping[str, Any]) -> Any:
    """What draws the updates of a tuning to all tasks."""
    return named_shares(given.get("by", "size"), {name: one for name, one in given.items() if name != "by"})
