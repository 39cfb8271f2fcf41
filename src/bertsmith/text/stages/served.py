"""datatrove's executors, told by lines of JSON on stdin which units to make: {"work", "stage", "numbers"}; each is answered by a line.

A process of its own, because what datatrove starts outlives whoever is killed (a manager, the workers of a pool) and what it logs goes to stderr:
when stdin ends, all of its session does.  Stages are run one by one: an executor that waits for another waits for ever if that one fails.
Units are made by processes of their own (engines.carried): a pool whose worker is killed waits for it for ever.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.slurm import launch_slurm_job
from datatrove.pipeline.base import PipelineStep

from bertsmith.text.stages.engines import carried
from bertsmith.text.stages.parts import done, place
from bertsmith.text.stages.work import error_of

MOST = 1000  # tasks of an executor, and jobs of an array
POLL = 10.0  # seconds between two looks at the queue of Slurm
LISTED = "units.json"  # numbers of the units that the jobs of an array share
BUSY = threading.Event()
UNDONE: list[Callable[[], None]] = []  # what is to be done before this process is ended


class Units(PipelineStep):
    """Task r of t makes units r, r + t, ... of those that are listed."""

    type, name = "bertsmith", "units of a stage"

    def __init__(self, work: Path, stage: str, numbers: list[int], retries: int):
        super().__init__()
        self.work, self.stage, self.numbers, self.retries = work, stage, numbers, retries

    def run(self, data: Iterable | None = None, rank: int = 0, world_size: int = 1) -> Iterator:
        yield from data or ()
        for number in self.numbers[rank::world_size]:
            with self.track_time("unit"):
                made = carried(self.work, self.stage, number, self.retries)
            if not made:
                raise RuntimeError(f"{self.stage}: unit {number} was not made")
            self.stat_update("units")


class Jobs(SlurmPipelineExecutor):
    """An array of Slurm whose jobs make units by our own program: datatrove's loads a pickle, which nobody here does."""

    def submit(self, step: Units, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / LISTED).write_text(json.dumps(step.numbers))
        tried = [sys.executable, "-m", "bertsmith.text.stages.served", "--job", str(step.work), step.stage]
        command = shlex.join([*tried, str(logs / LISTED), str(self.tasks), str(step.retries)])
        text = self.get_launch_file_contents(self.get_sbatch_args(self.tasks), command)
        (logs / "launch_script.slurm").write_text(text)
        self.job_id = launch_slurm_job(text, self.job_id_retriever)

    def get_sbatch_args(self, max_array: int = 1) -> dict:
        """Without what nobody asked for: partition and account are the cluster's own."""
        asked = super().get_sbatch_args(max_array)
        return {key: value for key, value in asked.items() if value or key == "requeue"}

    def over(self) -> bool:
        """Whether none of its jobs waits or runs."""
        asked = subprocess.run(["squeue", "-h", "-j", self.job_id], capture_output=True, text=True)
        return not asked.stdout.strip()  # of jobs that it has forgotten it says nothing but an error

    def cancel(self) -> None:
        subprocess.run(["scancel", self.job_id])


def local(step: Units, tasks: int, workers: int, logs: Path, given: dict[str, Any]) -> None:
    LocalPipelineExecutor(
        [step], tasks=tasks, workers=workers, logging_dir=str(logs), skip_completed=False, start_method="fork", **given
    ).run()


def ray(step: Units, tasks: int, workers: int, logs: Path, given: dict[str, Any]) -> None:
    import ray as library

    asked = dict(given)
    more = {key: asked.pop(key) for key in ("cpus_per_task", "mem_per_cpu_gb", "time") if key in asked}
    if not library.is_initialized():
        library.init(**{"log_to_driver": False, "include_dashboard": False, **asked})
    RayPipelineExecutor([step], tasks=tasks, workers=workers, logging_dir=str(logs), skip_completed=False, **more).run()


def slurm(step: Units, tasks: int, workers: int, logs: Path, given: dict[str, Any]) -> None:
    """An array; of what is missing when it is over another, as often as a unit may be tried again."""
    usual = {"time": "24:00:00", "partition": "", "qos": "", "job_name": f"bertsmith-{step.stage}", "poll": POLL}
    asked = usual | given
    poll = float(asked.pop("poll"))
    for _ in range(step.retries + 1):
        made = Jobs([step], tasks=tasks, workers=workers, logging_dir=str(logs), **asked)
        made.submit(step, logs)
        UNDONE.append(made.cancel)
        while not made.over():
            time.sleep(poll)
        UNDONE.clear()
        step.numbers = [n for n in step.numbers if done(place(step.work, step.stage, n)) is None]
        if not step.numbers or any(error_of(step.work, step.stage, n).exists() for n in step.numbers):
            return
        tasks = min(tasks, len(step.numbers))


def job(arguments: list[str]) -> int:
    """What a job of an array does: as `Units.run`."""
    work, stage, listed, tasks, retries = arguments
    numbers = json.loads(Path(listed).read_text())
    rank = int(os.environ["SLURM_ARRAY_TASK_ID"])
    missing = [n for n in numbers[rank :: int(tasks)] if done(place(Path(work), stage, n)) is None]
    made = [carried(Path(work), stage, number, int(retries)) for number in missing]
    return int(not all(made))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def main() -> None:
    about = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    heard = os.dup(0)
    os.dup2(
        os.open(os.devnull, os.O_RDONLY), 0
    )  # a process that is forked closes sys.stdin, which nobody may be reading then
    os.dup2(2, 1)  # whatever prints
    given = {key: _value(value) for key, value in about["given"].items()}
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(heard, orders), daemon=True).start()
    while line := orders.get():
        order = json.loads(line)
        work, numbers = Path(order["work"]), order["numbers"]
        tasks = min(about["tasks"] or MOST, MOST, len(numbers))
        step = Units(work, order["stage"], numbers, about["retries"])
        logs, answer = work / "logs" / order["stage"], "over"
        by = {"local": local, "ray": ray, "slurm": slurm}[about["engine"]]
        BUSY.set()
        try:
            by(step, tasks, min(about["workers"], tasks), logs, given)
        except TypeError as error:
            answer = f"refused {error}"
        except Exception as error:  # what was made is seen in the folder
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        BUSY.clear()
        print(answer.replace("\n", " "), file=answers, flush=True)


def _listen(heard: int, orders: queue.Queue[str]) -> None:
    """Lines of what was stdin; when it ends in the middle of something, that ends, too."""
    with open(heard, "rb", buffering=0) as lines:
        for line in lines:
            orders.put(line.decode())
    if BUSY.is_set():
        for undo in UNDONE:
            undo()
        os.killpg(0, signal.SIGKILL)
    orders.put("")


if __name__ == "__main__":
    if sys.argv[1] == "--job":
        sys.exit(job(sys.argv[2:]))
    main()
