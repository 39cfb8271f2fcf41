"""ERNIE 2.0's tasks added one by one, one after the other, or all at once: what is forgotten, as a matrix?

    python experiments/continual.py CORPORA --out results [--seeds 3] [--unit 40] [--size tiny] [--arms added turns together]

The same command again goes on where it was stopped.  The text is English newswire (reuters21578) in lower case, with phrases by statistics,
capitalised names as entities, and capitals kept.  Every arm reads each task equally often: 42 units of `--unit` updates in all, for with six tasks
the stages of "added" end after 2, 6, 12, 20, 30 and 42 units, and those of "turns" after 7 each.  All tasks are examined after every unit.
The rate is constant, so that a task that comes late learns as fast as the first.

A line for each arm: `matrix`, held-out loss of each task (columns) at the end of each stage (rows), mean over seeds; `chance`, the log of the
number of classes or the unigram entropy; `forgotten`, how far each task's loss rose from the end of its own stage to the end of the run, with
each seed's; `final`, mean and 95 % interval over seeds.
"""

import argparse
import json
import lzma
import math
from pathlib import Path

import numpy as np
import torch

import bertsmith
from bertsmith.config import override
from bertsmith.text.store import Store
from corpora import _names

ARMS = ("added", "turns", "together")
UNITS = 42
SETTINGS = ["layout.length=64", "training.batch=1024", "training.checkpoint=200", "training.held_out=8192"]
SETTINGS += ["schedule.lr=1e-3", "schedule.decay=constant", "schedule.warmup=0.02"]


def text(data: Path, out: Path) -> Path:
    if not (out / "capitals").exists():
        with lzma.open(next((data / "reuters21578").glob("*.jsonl.xz")), "rt", encoding="utf-8") as file:
            texts = [" ".join((json.loads(line).get("body") or "").split()) for line in file]
        texts = [each for each in texts if len(each) > 600]
        (out / "capitals.txt").write_text("\n\n".join(texts), encoding="utf-8")
        levels = {"phrases": "npmi", "entities": str(_names(out, texts)), "capitals": True}
        options = {"tokenizer": "wordpiece:4000", "lowercase": True, "holdout": 0.03, **levels}
        bertsmith.prepare([str(out / "capitals.txt")], str(out / "capitals"), say=print, **options)
    return out / "capitals"


def run_of(arm: str, seed: int, store: Store, given: argparse.Namespace) -> list[dict]:
    """The held-out losses after every unit."""
    run = given.out / f"{arm}-{given.unit}-{seed}"
    settings = [*SETTINGS, f"mixture.shares.order={arm}", f"training.evaluate={given.unit}"]
    recipe = override(bertsmith.find(f"ernie2:{given.size}"), settings)
    steps = UNITS * given.unit
    done = run / "done"
    if not done.exists():
        bertsmith.pretrain(
            recipe, store, run, steps=steps, seed=seed, threads=given.threads, resume=run.exists(), say=print
        )
        done.write_text("")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["evaluation"] for line in lines if "evaluation" in line]


def ends(arm: str, feeds: int) -> list[int]:
    """Units after which each stage ends; all at once has none, and is looked at where "added" ends its own."""
    from bertsmith.data.mixture import Curriculum

    order = "added" if arm == "together" else arm
    return Curriculum(order=order).of(UNITS).begins(feeds)[1:]


def interval(values: list[float]) -> list[float]:
    """Mean and half of the 95 % interval."""
    from scipy import stats

    spread = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) if len(values) > 1 else math.nan
    return [round(float(np.mean(values)), 4), round(float(spread), 4)]


def summary(arm: str, runs: list[list[dict]], entropy: float) -> dict:
    terms = list(runs[0][-1])
    at = ends(arm, len(terms))
    losses = np.array([[[found[unit - 1][term]["loss"] for term in terms] for unit in at] for found in runs])
    accuracy = {term: interval([found[-1][term]["accuracy"] for found in runs]) for term in terms}
    line = {"arm": arm, "seeds": len(runs), "terms": terms, "matrix": losses.mean(0).round(4).tolist()}
    classes = [math.nan, 2, 2, 9, 3, 4]
    line["chance"] = [round(entropy, 4), *(round(math.log(n), 4) for n in classes[1:])]
    own = losses[:, range(len(terms)), range(len(terms))]
    rose = losses[:, -1] - own
    line["forgotten"] = {term: interval(rose[:, i].tolist()) for i, term in enumerate(terms)}
    line["mean_forgotten"] = interval(rose[:, :-1].mean(1).tolist())
    line["final"] = {term: interval(losses[:, -1, i].tolist()) for i, term in enumerate(terms)}
    return {**line, "final_accuracy": accuracy}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--unit", type=int, default=40, help="updates")
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    store = Store.open(text(given.data, given.out))
    for seed in range(given.seeds):  # seed by seed, so that a part of them is a whole comparison
        for arm in given.arms:
            run_of(arm, seed, store, given)
    for arm in given.arms:
        runs = [run_of(arm, seed, store, given) for seed in range(given.seeds)]
        print(json.dumps(summary(arm, runs, store.unigram_entropy())), flush=True)


if __name__ == "__main__":
    main()
