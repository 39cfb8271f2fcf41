"""`study`: a file says which members, at which cost, on which tasks; each run of it is a cell that is computed once, and goes on where it was killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.study import executors
from bertsmith.downstream.study.asked import Asked
from bertsmith.downstream.study.members import Reckoner, check_recipes
from bertsmith.downstream.study.record import PLAN, Record, check_same, told
from bertsmith.downstream.study.study_file import read_study
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.training.job import silent
from bertsmith.training.run import open_store

STORE, RESULT, PAGE = "store", "study.json", "study.html"
Say = Callable[[str], None]


def study(
    file: str | Path,
    out: str | Path,
    *,
    plan: bool = False,
    jobs: int = 1,
    executor: str = "local",
    power: float | None = None,
    threads: int | None = None,
    device: str | None = None,
    say: Say = silent,
) -> dict[str, Any]:
    """What study.json says of the study that `file` describes (downstream/study/study_file.py), made in the folder `out` or gone on with there;
    study.html is the page of it.

    Every pre-training and every fine-tuning is a run of its own in OUT/cells, named by what it is made of: nothing is computed twice, and a
    study that was killed and is started again ends with the same bytes.  Arms, tasks, ways to tune, seeds and budgets may be added to the
    file; what else changes in it, or in its data, is an InputError that names the field.
    `plan`: what it would cost, and nothing is launched: {members, cells, minutes, …}.  `power`: how many seeds and texts a difference of so many points
    needs, from the cells that stand, or from a pilot: two seeds of the first two members.
    `jobs`: cells at once, in processes with `threads` each (None: the cores shared out); `executor`: "local", "slurm" (submitit) or "ray".
    InputError before anything is launched, naming the cell that cannot be carried out.
    """
    out = Path(out)
    executors.check(executor)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"{option('jobs', jobs)}: expected a number from 1")
    asked = read_study(file)
    check_recipes(asked)
    files.refuse_unless_replaceable(out, _ours, "study", force=False)
    with _alone(out):
        for name in (PLAN, RESULT, PAGE):
            files.sweep(out / name)
        store = _store(asked, out, say)
        old, now = Record.read(out), told(asked, store.digest)
        if old is not None:
            check_same(out, old.asked, now)
        each = (old.threads if old else None) or asked.threads or threads or _shared_out(jobs, executor)
        reckoner = Reckoner(asked, store, each, device, old.members if old else {}, say)
        from bertsmith.downstream.study.rounds import (
            Study,  # torch is loaded here, when what is cheap to refuse has been
        )

        made = Study(asked, store, out, reckoner, say)
        if plan:
            return made.planned(each, jobs)
        made.check()
        Record(asked=now, threads=each, members={**(old.members if old else {}), **reckoner.found}).write(out)
        by = executors.executor(executor, jobs, out, each, device, getattr(asked, executor, {}))
        try:
            return made.run(by) if power is None else made.power(power, by)
        finally:
            by.close()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """InputError where another process works on the study; a folder that was made for one that is refused goes again."""
    there = out.is_dir()
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
    busy = f"{printable(out)}: {option('out')} is being written by another process; wait for it, stop it, or choose another place"
    try:
        with files.locked(out, busy):
            yield
    finally:
        if not there and out.is_dir() and not os.listdir(out):
            out.rmdir()


def _store(asked: Asked, out: Path, say: Say) -> Any:
    """Opened; made of its sources once."""
    if asked.store is not None:
        return open_store(asked.store, say)
    if not (out / STORE / files.MANIFEST).is_file():
        from bertsmith.text.prepare import prepare

        say(f"study: the text is prepared, once, in {printable(out / STORE)}")
        prepare(list(asked.sources), out / STORE, say=say, **asked.prepared)
    return open_store(out / STORE, say)


def _shared_out(jobs: int, executor: str) -> int:
    """Threads of a cell."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (jobs if executor == "local" else 1))


def _ours(name: str) -> bool:
    kept = (PLAN, RESULT, PAGE)
    return name in (*kept, STORE, "cells", "jobs") or any(name.startswith(f".{one}.") for one in (*kept, STORE))
