"""Who makes units: this process, processes of this machine, or datatrove's executors (served.py), which are a process of their own.

Whoever it is, a unit is made by a process that knows the work folder and its number (`carried`): what dies is that process, and it is started
again alone.  What came of a unit is read off the work folder by whoever asked (staged.py).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from bertsmith import files
from bertsmith.errors import InputError, ResourceError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.text.pool import one_thread
from bertsmith.text.stages import plan
from bertsmith.text.stages.parts import done, place
from bertsmith.text.stages.work import WORK, error_of

NAMES = ("local", "slurm", "ray")
UNIT = [sys.executable, "-m", "bertsmith.text.stages.work"]
SERVER = [sys.executable, "-m", "bertsmith.text.stages.served"]
LOOK = 0.5  # seconds between two looks at what is done
Tick = Callable[[], None]


class Engine(Protocol):
    def carry(self, work: Path, stage: str, numbers: list[int], tick: Tick) -> None:
        """Try to make these units; `tick` is called now and then meanwhile."""

    def close(self) -> None:
        """When nothing runs any more."""


def settings(given: Mapping[str, Any] | Iterable[str]) -> dict[str, str]:
    """NAME=VALUE, or a mapping, as what an executor is given."""
    if isinstance(given, Mapping):
        return {str(name): str(value) for name, value in given.items()}
    found = {}
    for part in [given] if isinstance(given, str) else given:
        name, equals, value = str(part).partition("=")
        if not equals or not name.isidentifier():
            raise InputError(
                f"{option('engine_set')}: {printable(repr(part), 60)} is not NAME=VALUE, such as partition=cpu"
            )
        found[name] = value
    return found


def check(name: str | None, settings: Mapping[str, str]) -> None:
    """InputError for an engine that there is none of, or whose packages are not installed."""
    if name is None:
        if settings:
            raise InputError(f"{option('engine_set')}: is of an engine; {option('engine', *NAMES)} is one")
        return
    if name not in NAMES:
        raise InputError(f"{option('engine')}: {printable(repr(name), 60)} is none; {nearest(name, NAMES)}")
    for package, extra in (("datatrove", "engine"), *((("ray", "ray"),) if name == "ray" else ())):
        if find_spec(package) is None:
            raise InputError(
                f"{option('engine', name)}: {package} is not installed; pip install 'bertsmith[{extra}]' brings it"
            )


def engine(
    name: str | None, work: Path, workers: int, tasks: int | None, retries: int, given: Mapping[str, str]
) -> Engine:
    if name is not None:
        return Served(name, work, workers, tasks, retries, given)
    return Here() if workers == 1 else Processes(workers, retries)


class Children:
    """Processes that make units, so that all can be ended."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def run(self, command: list[str], log: Path) -> int:
        with open(log, "ab") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stderr, stderr=stderr, start_new_session=True
            )
        self.running.add(process)
        try:
            if self.stopped:
                process.kill()
            return process.wait()
        finally:
            self.running.discard(process)
            process.stdin.close()

    def stop(self) -> None:
        self.stopped = True
        for process in [*self.running]:
            process.kill()


def carried(work: Path, stage: str, number: int, retries: int, children: Children | None = None) -> bool:
    """Make a unit in a process of its own, again where that dies; whether it is made.  Why not stands in `error_of`."""
    children = children or Children()
    log = work / "logs" / f"{stage}-{number:06d}.txt"
    log.parent.mkdir(exist_ok=True)
    for _ in range(retries + 1):
        code = children.run([*UNIT, str(work), stage, str(number), "--watch"], log)
        if done(place(work, stage, number)) is not None:
            return True
        if children.stopped or error_of(work, stage, number).exists():
            return False
    lines = log.read_text(errors="replace").strip().split("\n")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} ({printable(lines[-1])})"
    said = f"unit {number} of stage {stage}: its process {how}, {amount(retries + 1, 'time')}"
    files.write(error_of(work, stage, number), json.dumps({"code": 3 if code < 0 else 1, "said": said}).encode())
    return False


class Here:
    """One after the other, in this process."""

    def carry(self, work: Path, stage: str, numbers: list[int], tick: Tick) -> None:
        about = plan.load(work)
        with one_thread():
            for number in numbers:
                WORK[stage](work, about, number)
                tick()

    def close(self) -> None:
        pass


class Processes:
    def __init__(self, workers: int, retries: int):
        self.workers, self.retries = workers, retries

    def carry(self, work: Path, stage: str, numbers: list[int], tick: Tick) -> None:
        children = Children()
        one = lambda number: carried(work, stage, number, self.retries, children)
        with ThreadPoolExecutor(self.workers) as pool, one_thread():
            waiting = {pool.submit(one, number) for number in numbers}
            try:
                while waiting:
                    over, waiting = wait(waiting, LOOK, "FIRST_COMPLETED")
                    if not all(future.result() for future in over):
                        break
                    tick()
            finally:
                for future in waiting:
                    future.cancel()
                children.stop()

    def close(self) -> None:
        pass


class Served:
    """datatrove's executors, in a process that ends with this one and takes what it started with it.  It is told a stage a line."""

    def __init__(self, name: str, work: Path, workers: int, tasks: int | None, retries: int, given: Mapping[str, str]):
        self.log = work / "logs" / f"{name}.txt"
        self.log.parent.mkdir(exist_ok=True)
        about = {
            "engine": name,
            "work": str(work),
            "workers": workers,
            "tasks": tasks,
            "retries": retries,
            "given": dict(given),
        }
        with one_thread(), open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*SERVER, json.dumps(about)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def carry(self, work: Path, stage: str, numbers: list[int], tick: Tick) -> None:
        order = json.dumps({"work": str(work), "stage": stage, "numbers": numbers}).encode() + b"\n"
        try:
            self.process.stdin.write(order)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        while not select.select([self.process.stdout], [], [], LOOK)[0]:
            tick()
        answer = os.read(self.process.stdout.fileno(), 1 << 16)
        if not answer:
            raise self._ended()
        if answer.startswith(b"refused "):
            raise InputError(f"{option('engine_set')}: {printable(answer.decode()[8:].strip(), 400)}")
        tick()

    def _ended(self) -> ResourceError:
        self.process.wait()
        lines = self.log.read_text(errors="replace").strip().split("\n")
        return ResourceError(f"{option('engine')}: its process ended: {printable(lines[-1])}; its log is {self.log}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
