"""The cells of a study: one pre-training, or one fine-tuning of it, each in a folder that is named by what is asked.

OUT/cells/0123456789abcdef/
    cell.json        what is asked, and where its files are; sealed
    run/             the run that the verb makes
    done.json        what came out, written last; sealed.  Nothing in it depends on a clock
    resamples.npy    (scores, 1 + b): each score of the rows that it is read on, and of their resamples

Who asks the same, in whatever study file of the folder, finds it done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.study.asked import Asked, Task, Tuning, of_task
from bertsmith.downstream.study.members import Member, digest
from bertsmith.errors import InputError, printable
from bertsmith.training.run import STEPS, remove

CELLS, CELL, DONE, RUN, RESAMPLES = "cells", "cell.json", "done.json", "run", "resamples.npy"
ERROR = "error.json"  # what ended the cell, until it is begun again
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`asked` names it; `paths` are where its files lie today; `needs`: the cell that has to be done before it."""

    name: str
    asked: Mapping[str, Any]
    paths: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None

    @property
    def key(self) -> str:
        return digest(self.asked)

    def place(self, out: Path) -> Path:
        return out / CELLS / self.key

    def written(self, out: Path) -> Path:
        """Its folder, with cell.json as it is asked for today."""
        place = self.place(out)
        told = {"format": FORMAT, "kind": "cell", "name": self.name, "asked": self.asked, "paths": self.paths}
        data = files.sealed({**told, "needs": self.needs})
        if files.plain(place / CELL) != data:
            with files.writing(place):
                place.mkdir(parents=True, exist_ok=True)
            files.write(place / CELL, data)
        return place


@dataclass(frozen=True, kw_only=True)
class Done:
    """`result`: what done.json says; `failed`: why there is nothing, where a loss was not finite; `resamples`: {score: (1 + b,)}."""

    result: Mapping[str, Any]
    resamples: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def failed(self) -> str:
        return self.result.get("failed", "")


def pretraining(asked: Asked, member: Member, seed: int, store: Any) -> Cell:
    """`store`: opened."""
    wanted = {
        "kind": "pretrain",
        "recipe": member.tree,
        "steps": member.steps,
        "seed": seed,
        "data": store.digest,
        "held_out": 0 if member.scratch else asked.held_out,
    }
    paths = {"store": str(Path(store.path).resolve()), "members": asked.members}
    return Cell(name=f"{member.name}, seed {seed}", asked=wanted, paths=paths)


def fine_tunings(
    asked: Asked, member: Member, seed: int, under: Cell
) -> Iterable[tuple[Tuning, Cell, tuple[Task, ...]]]:
    """Every way to tune the member of one seed, on each task or on all of them together; the tasks that it is read on."""
    for tuning in asked.tunings:
        for tasks in [asked.tasks] if tuning.shares else [(task,) for task in asked.tasks]:
            wanted = {
                "kind": "multitask" if tuning.shares else "finetune",
                "model": under.key,
                "tasks": {task.name if tuning.shares else "": of_task(task) for task in tasks},
                "method": tuning.method,
                "set": tuning.set,
                "length": dict(tuning.length),
                "scratch": tuning.scratch or member.scratch,
                "shares": tuning.shares,
                "each": tuning.each,
                "seed": seed,
            }
            places = {task.name if tuning.shares else "": _files(task) for task in tasks}
            several = f", {tuning.name}" if len(asked.tunings) > 1 else ""
            on = "all tasks" if tuning.shares else tasks[0].name
            name = f"{member.name}{several}, on {on}, seed {seed}"
            paths = {"tasks": places, "members": asked.members, "keep": asked.keep}
            yield tuning, Cell(name=name, asked=wanted, paths=paths, needs=under.key), tasks


def _files(task: Task) -> dict[str, Any]:
    """Where its rows are."""
    dev = task.files.dev
    return {"train": str(Path(task.files.train).resolve()), "dev": dev if task.files.part else str(Path(dev).resolve())}


def done(out: Path, key: str) -> Done | None:
    """None where the cell is not done.  InputError where it is damaged."""
    place = out / CELLS / key
    data = files.plain(place / DONE)
    if data is None:
        return None
    result = files.unsealed(data, place / DONE)
    files.check_format(result, place / DONE, FORMAT)
    names = result.get("scores", [])
    if not names:
        return Done(result=result)
    files.check(place, result["files"])
    try:
        table = np.load(place / RESAMPLES, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(place / RESAMPLES)}: not a plain .npy file: {printable(error)}") from None
    return Done(result=result, resamples=dict(zip(names, table, strict=True)))


def keep(place: Path, result: Mapping[str, Any], resamples: Mapping[str, np.ndarray]) -> None:
    """What came out of the cell in `place`: its numbers first, done.json last."""
    told = {"format": FORMAT, "kind": "cell", **result}
    if resamples:
        import io

        buffer = io.BytesIO()
        np.save(buffer, np.stack([*resamples.values()]).astype("<f8"), allow_pickle=False)
        files.write(place / RESAMPLES, buffer.getvalue())
        told |= {"scores": [*resamples], "files": files.listing(place, [RESAMPLES])}
    files.write(place / DONE, files.sealed(told))


def lighten(place: Path) -> None:
    """Take the weights of a fine-tuning that is done, whose scores are kept, unless they are wanted."""
    steps, data = place / RUN / STEPS, files.plain(place / CELL)
    told = {} if data is None or not steps.is_dir() else files.unsealed(data, place / CELL)
    if told and told["asked"]["kind"] != "pretrain" and told["paths"]["keep"] != "all":
        with files.writing(place):
            remove(steps)
