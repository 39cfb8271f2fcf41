"""Jobs for processes that are started once, as torchrun would but forked: starting them takes longer than the small runs that they make.

A JSON list of jobs; each process writes what came of job NAME to NAME.RANK.json beside it.  What torchrun and `--processes` add is for
tests/test_distributed.py.
"""

import json
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

from tests.children import Children
from tests.runs import small

errors: list[Exception] = []
HOME = Path(__file__).resolve().parents[1]


def work(children: Children, folder: Path, jobs: list[dict], processes: int = 2) -> None:
    """The jobs, by `processes`.  One that breaks ends the others; its stderr is told."""
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        children.start(path, call="tests.workers:worker", rank=rank, size=processes, port=port)
        for rank in range(processes)
    ]
    until = time.monotonic() + 280
    while any(child.running() for child in ranks):
        if any(child.code for child in ranks) or time.monotonic() > until:
            for child in ranks:
                child.kill()
        time.sleep(0.02)
    assert [child.code for child in ranks] == [0] * processes, "\n".join(child.err for child in ranks)


def environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join([str(HOME / "src"), str(HOME), os.environ.get("PYTHONPATH", "")])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        **variables,
    }


def outcome(folder: Path, name: str, rank: int = 0) -> dict:
    return json.loads((folder / f"{name}.{rank}.json").read_text())


def worker(arguments: list[str], *, rank: int, size: int, port: int) -> None:
    """One process of `size`, by the variables that torchrun gives it."""
    found = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in found.items()} | {"MASTER_ADDR": "127.0.0.1"}
    path = Path(arguments[0])
    for job in json.loads(path.read_text()):
        size = os.environ["WORLD_SIZE"]
        if job.get("alone"):  # process 0 by itself; the other waits where the next job begins
            os.environ["WORLD_SIZE"] = "1"
        if rank == 0 or not job.get("alone"):
            found = attempt(job, path.parent, rank)
            (path.parent / f"{job['name']}.{rank}.json").write_text(json.dumps(found))
        os.environ["WORLD_SIZE"] = size
    os._exit(0)  # with what broke still in place


def attempt(job: dict, folder: Path, rank: int) -> dict:
    import bertsmith
    from bertsmith.errors import BertsmithError
    from bertsmith.objectives.predict import Predict, Summary

    options = {
        "steps": 50,
        "seed": 3,
        "threads": 1,
        **job.get("options", {}),
        **job.get("by_rank", {}).get(str(rank), {}),
    }
    said: list[str] = []

    def run(out: Path, **more: object) -> dict:
        if "tasks" in job:
            return bertsmith.multitask(job["model"], job["tasks"], out, set=job["set"], **more)
        if "task" in job:
            return bertsmith.finetune(job["model"], out=out, set=job.get("set", []), **job["task"], **more)
        recipe = small(*job.get("set", []), member=job.get("member", "bert"))
        if job.get("unasked"):
            heads = (*recipe.objective.heads, Summary())
            recipe = replace(recipe, objective=Predict(heads=heads))
        if "feeds" in job:
            from bertsmith.downstream.labelled_files import Files

            feeds = {name: Files(**given) if isinstance(given, dict) else given for name, given in job["feeds"].items()}
            return bertsmith.multitask(recipe, feeds, out, set=["batch=8", "dropout=0.0"], **more)
        return bertsmith.pretrain(recipe, job["store"], out, **more)

    def progress(step: int, *_: object) -> None:
        if step == job.get("stop"):
            os.kill(os.getpid(), signal.SIGTERM)

    with trouble(**job.get("trouble", {}) if rank == job.get("trouble", {}).get("rank") else {}):
        try:
            out = folder / job.get("out", job["name"])
            result = run(out, say=said.append, progress=progress, **options)
        except BertsmithError as error:
            errors.append(error)  # and with it the process group, which torch may never be done with taking down
            return {"code": error.exit_code, "error": str(error), "said": said}
    return {"code": 0, "result": result, "said": said}


class trouble:
    """From its call number `at` on, `module.name` of bertsmith.training raises a RuntimeError of these words."""

    def __init__(self, rank: int = 0, module: str = "", name: str = "", at: int = 1, words: str = ""):
        self.module, self.name, self.at, self.words = module, name, at, words

    def __enter__(self) -> None:
        if self.module:
            import importlib

            self.where = importlib.import_module(f"bertsmith.training.{self.module}")
            self.whole, calls = getattr(self.where, self.name), iter(range(1, 1 << 30))

            def refuse(*arguments: object, **options: object) -> object:
                if next(calls) >= self.at:
                    raise RuntimeError(self.words)
                return self.whole(*arguments, **options)

            setattr(self.where, self.name, refuse)

    def __exit__(self, *_: object) -> None:
        if self.module:
            setattr(self.where, self.name, self.whole)
