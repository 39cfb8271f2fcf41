"""Where cells are carried out: in this process, in processes of this machine, on a cluster of Slurm by submitit, or by Ray.

An executor starts a cell (`start(place)`) and tells which of those it started have ended (`ended()`): {place: None, or the error that ended it}.
What submitit writes for its jobs stands in OUT/jobs, and is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from bertsmith import files
from bertsmith.downstream.study.cells import ERROR
from bertsmith.errors import BertsmithError, InputError, nearest, printable, remade
from bertsmith.spelling import option
from bertsmith.training.job import silent

Ended = dict[Path, BertsmithError | None]
NAMES = ("local", "slurm", "ray")
WAIT = 0.05  # seconds between two looks at processes
FAR = 2.0  # at what runs elsewhere
CELL = [sys.executable, "-m", "bertsmith.downstream.study.work"]


class Executor(Protocol):
    room: int  # cells at once

    def start(self, place: Path) -> None: ...
    def ended(self) -> Ended: ...
    def stop(self) -> None:
        """Tell all that run to save and end."""

    def close(self) -> None:
        """When nothing runs any more."""


def executor(
    name: str,
    jobs: int,
    out: Path,
    threads: int,
    device: str | None,
    given: Mapping[str, Any],
) -> Executor:
    """`given`: the table of the study file that is called so.  InputError for one that there is none of."""
    if name == "local":
        return Here(threads, device) if jobs == 1 else Processes(jobs, threads, device)
    return {"slurm": Slurm, "ray": Ray}[name](jobs, out, threads, device, given)


def check(name: str) -> None:
    """InputError for an executor that there is none of, or whose package is not installed."""
    if name not in NAMES:
        raise InputError(f"{option('executor', name)}: unknown; {nearest(name, NAMES)}")
    package = {"slurm": "submitit", "ray": "ray"}.get(name)
    if package is not None and find_spec(package) is None:
        raise InputError(
            f"{option('executor', name)}: {package} is not installed; pip install 'bertsmith[{name}]' brings it"
        )


class _Open:
    """Nothing to close."""

    def close(self) -> None:
        pass


class Here(_Open):
    """One after the other, in this process.  What a cell says stands in the log.txt of its run."""

    room = 1

    def __init__(self, threads: int, device: str | None):
        self.threads, self.device = threads, device
        self.over: list[Path] = []

    def start(self, place: Path) -> None:
        from bertsmith.downstream.study.work import work

        work(place, self.threads, self.device, silent)
        self.over.append(place)

    def ended(self) -> Ended:
        found: Ended = dict.fromkeys(self.over)
        self.over = []
        return found

    def stop(self) -> None:
        """What a verb was doing it has saved itself."""


class Processes(_Open):
    """Each in a process of its own, which ends when this one does: it reads a pipe that nobody else holds."""

    def __init__(self, jobs: int, threads: int, device: str | None):
        self.room, self.more = jobs, [str(threads), *([device] if device else [])]
        self.running: dict[Path, subprocess.Popen] = {}

    def start(self, place: Path) -> None:
        self.running[place] = subprocess.Popen(
            [*CELL, str(place), *self.more, "--watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches this process alone, which tells them
        )

    def ended(self) -> Ended:
        found: Ended = {}
        for place, process in [*self.running.items()]:
            code = process.poll()
            if code is None:
                continue
            del self.running[place]
            process.stdin.close()
            few = f"was killed by signal {-code}; memory may be short: fewer {option('jobs')} need less"
            found[place] = None if code == 0 else _error(place, few if code < 0 else f"ended with exit code {code}")
        if not found:
            time.sleep(WAIT)
        return found

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()


def _error(place: Path, otherwise: str) -> BertsmithError:
    """What ended a cell, as it said itself; what could not say anything was ended from outside."""
    data = files.plain(place / ERROR)
    told = {"code": 3, "said": otherwise} if data is None else json.loads(data)
    return remade(told["code"], told["said"])


class Slurm(_Open):
    """A job of a cluster for each cell, by submitit.  The table [slurm] of the study has its parameters; `cluster = "local"` tries it here."""

    def __init__(self, jobs: int, out: Path, threads: int, device: str | None, given: Mapping[str, Any]):
        import submitit

        self.room, self.threads, self.device = jobs, threads, device
        table = dict(given)
        self.by = submitit.AutoExecutor(folder=out / "jobs", cluster=table.pop("cluster", "slurm"))
        usual = {"cpus_per_task": threads, "timeout_min": 24 * 60, "name": "bertsmith"}
        try:
            self.by.update_parameters(**{**usual, **table})
        except (TypeError, NameError, ValueError) as error:
            raise InputError(f"slurm: {printable(error)}") from None
        self.function = submitit.helpers.CommandFunction
        self.running: dict[Path, Any] = {}

    def start(self, place: Path) -> None:
        more = [str(self.threads), *([self.device] if self.device else [])]
        self.running[place] = self.by.submit(self.function([*CELL, str(place.resolve()), *more], verbose=False))

    def ended(self) -> Ended:
        found: Ended = {}
        for place, job in [*self.running.items()]:
            if job.done():
                del self.running[place]
                failed = job.exception() is not None
                found[place] = (
                    _error(place, f"job {job.job_id} ended; its log is {job.paths.stderr}") if failed else None
                )
        if not found:
            time.sleep(FAR)
        return found

    def stop(self) -> None:
        for job in self.running.values():
            job.cancel(check=False)


class Ray:
    """A task of Ray for each cell; [ray] has what `ray.init` takes."""

    def __init__(self, jobs: int, out: Path, threads: int, device: str | None, given: Mapping[str, Any]):
        import ray

        self.ray, self.room, self.threads, self.device = ray, jobs, threads, device
        self.own = not ray.is_initialized()
        if self.own:
            ray.init(**{"log_to_driver": False, **given})
        self.running: dict[Path, Any] = {}

    def start(self, place: Path) -> None:
        from bertsmith.downstream.study.work import main

        carried = self.ray.remote(num_cpus=self.threads, num_gpus=int(self.device not in (None, "cpu")))(main)
        self.running[place] = carried.remote(
            [str(place.resolve()), str(self.threads), *([self.device] if self.device else [])]
        )

    def ended(self) -> Ended:
        found: Ended = {}
        for place, task in [*self.running.items()]:
            over, _ = self.ray.wait([task], timeout=0)
            if over:
                del self.running[place]
                try:
                    code = self.ray.get(task)
                except self.ray.exceptions.RayError as error:
                    code, said = 3, printable(error, 400)
                else:
                    said = f"ended with exit code {code}"
                found[place] = _error(place, said) if code else None
        if not found:
            time.sleep(FAR)
        return found

    def stop(self) -> None:
        for task in self.running.values():
            self.ray.cancel(task)

    def close(self) -> None:
        if self.own:
            self.ray.shutdown()
