"""Several tasks over one trunk, beside each by itself: mixtures, one after the other or at once, MT-DNN, and tuning per task afterwards.

python experiments/mixtures.py CORPORA MODEL --out results [--rows 400] [--seeds 3] [--epochs 3] [--lr 1e-4] [--arms size annealed all san]

Tasks are RTE, MRPC, STS-B and the part of QNLI of seven_tasks.py; an epoch has the rows of all, so that each task is read as often as by
itself.  size: rows of a task in proportion to its number; annealed: from that to all alike (PALs); all: every update reads all of them;
san: as size, with MT-DNN's answer network over pairs; `single-san` that head alone; `… then`: every task tuned once more by itself.
A line of JSON for each arm and task: test scores of the seeds, and the difference to single tasks with its 95 % interval over texts and seeds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from minilm import of_texts, score
from seven_tasks import Parts, tasks
from ways_to_tune import apart

import bertsmith
from bertsmith.downstream.predict import judged

ARMS = {
    "size": {"shares": "size"},
    "annealed": {"shares": "annealed"},
    "all": {"each": "all"},
    "san": {"shares": "size", "head": "san"},
}
TASKS = ("rte", "mrpc", "stsb", "qnli")


def toml(files: dict[str, Parts], path: Path, head: str) -> Path:
    lines = []
    for name, parts in files.items():
        lines += [f"[task.{name}]", f'task = "{parts.kind}"', f'train = "{parts.train}"', f'dev = "{parts.dev}"']
        lines += [f'head = "{head}"'] if head else []
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--arms", nargs="+", choices=ARMS, default=["size", "annealed", "san"])
    arguments.add_argument(
        "--then", nargs="*", choices=ARMS, default=["size"], help="arms that are tuned per task, too"
    )
    arguments.add_argument("--rows", type=int, default=400)
    arguments.add_argument(
        "--qnli", type=int, help="rows of QNLI, where they are to be others: shares by size differ then"
    )
    arguments.add_argument("--dev-rows", type=int, default=150)
    arguments.add_argument("--test-rows", type=int, default=400)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--lr", type=float, default=1e-4)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    files = tasks(given.data, given.out / "tasks", given.rows, given.dev_rows, given.test_rows, only=TASKS)
    if given.qnli:
        files |= tasks(given.data, given.out / "tasks", given.qnli, given.dev_rows, given.test_rows, only=("qnli",))
    settings = [f"lr={given.lr}", "length=128", "precision=auto"]
    shared = {"epochs": given.epochs, "threads": given.threads, "resume": True}

    def tested(model: str | Path, parts: Parts) -> np.ndarray:
        loaded = bertsmith.load(model)
        _, logits, kind = judged(loaded, parts.test)
        said = kind.answer(kind.read(parts.test), logits, loaded.labels)
        return of_texts(parts, [answer["label"] for answer in said])

    def alone(model: str | Path, task: str, out: Path, seed: int, head: str = "") -> np.ndarray:
        parts = files[task]
        options = {"task": parts.kind, "train": parts.train, "dev": parts.dev, "seed": seed, **shared}
        bertsmith.finetune(model, out=out, set=[*settings, *([f"head={head}"] if head else [])], **options)
        return tested(out, parts)

    def tell(arm: str, task: str, tests: list[np.ndarray]) -> None:
        kind = files[task].kind
        seeds = [round(score(kind, x), 4) for x in tests]
        line = {"arm": arm, "task": task, "seeds": seeds, "mean": round(float(np.mean(seeds)), 4)}
        if arm != "single":
            line["less single, low, high"] = apart(kind, tests, single[task])
        print(json.dumps(line), flush=True)

    seeds, single = range(given.seeds), {}
    for task in files:
        single[task] = [alone(given.model, task, given.out / f"single-{task}-{seed}", seed) for seed in seeds]
        tell("single", task, single[task])
    for arm in given.arms:
        how = {**ARMS[arm]}
        head = how.pop("head", "")
        runs = [given.out / f"{arm}-{seed}" for seed in seeds]
        for seed, run in zip(seeds, runs, strict=True):
            path = toml(files, given.out / f"{arm}.toml", head)
            bertsmith.multitask(given.model, path, run, seed=seed, set=settings, **how, **shared)
        for task in files:
            tell(arm, task, [tested(f"{run}:{task}", files[task]) for run in runs])
        for task in files if arm in given.then else ():
            after = [given.out / f"{arm}-then-{task}-{seed}" for seed in seeds]
            tell(
                f"{arm}, then by itself",
                task,
                [alone(f"{run}:{task}", task, out, seed) for seed, run, out in zip(seeds, runs, after, strict=True)],
            )
        for task in files if head else ():
            tests = [alone(given.model, task, given.out / f"single-{arm}-{task}-{seed}", seed, head) for seed in seeds]
            tell(f"single, {arm}", task, tests)


if __name__ == "__main__":
    main()
