"""Why is BERT better than ELMo?  Encoder, what is asked, fusion of layers and size, one at a time.

    python experiments/bert_and_elmo.py CORPORA --out results [--tokens 2000000] [--sizes tiny mini] [--seeds 0 1 2] [--tasks sst2 mrpc]

Three members at equal tokens of one encyclopedia: `elmo` (LSTMs, two language models), `bert-lstm` (LSTMs in both directions, BERT's questions) and `bert` (attention, BERT's questions).  Each is
frozen and read by its last layer (`frozen`) or by a learned mixture of all of them (`mix`).  A line of JSON for each cell, in cells.jsonl, which a later call goes on from; then what each step is worth, paired over all
other factors, tasks and seeds, with its 95 % interval (t): what is asked (bert-lstm less elmo), the encoder (bert less bert-lstm), the fusion (mix less last layer), the size (mini less tiny).
"""

import argparse
import json
from itertools import product
from pathlib import Path

from glue import TASKS, tables

import bertsmith
from bertsmith.nn.member import parameters
from corpora import encyclopedia, paired, trained

MEMBERS = ("elmo", "bert-lstm", "bert")
FUSIONS = ("frozen", "mix")
STEPS = {
    "what is asked": ("member", "bert-lstm", "elmo"),
    "encoder": ("member", "bert", "bert-lstm"),
    "fusion": ("fusion", "mix", "frozen"),
    "size": ("size", "mini", "tiny"),
}


def cell(at: dict, run: Path, files: tuple[Path, ...], given: argparse.Namespace) -> dict:
    train, dev, test = files
    out = run.with_name(f"{run.name}-{at['task']}-{at['fusion']}")
    work = {"seed": at["seed"], "threads": given.threads, "resume": out.exists(), "allow_unknown": True}
    sets = ["lr=1e-3", "length=64"] + (["pool=mean"] if at["task"] == "sst2" else [])
    task = {"task": TASKS[at["task"]], "method": at["fusion"], "epochs": given.epochs, "set": sets}
    bertsmith.finetune(run, train=train, dev=dev, out=out, **task, **work)
    scores = bertsmith.evaluate(out, test)
    name = "accuracy" if "accuracy" in scores else "pearson"
    size = parameters(bertsmith.load(run).recipe)
    return {**at, "score": scores[name]["value"], "by": name, "parameters": size}


def worth(cells: list[dict], factor: str, ours: str, theirs: str) -> str:
    """The mean difference of cells that differ in one factor alone."""
    rest = lambda c: tuple(v for k, v in c.items() if k not in (factor, "score", "by", "parameters"))
    known = {(c[factor], rest(c)): c["score"] for c in cells}
    both = [
        (score, known[theirs, at]) for (value, at), score in known.items() if value == ours and (theirs, at) in known
    ]
    return paired(*map(list, zip(*both, strict=True))) + f", {len(both)} pairs" if both else "nothing to compare"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--tokens", type=int, default=2_000_000)
    arguments.add_argument("--sizes", nargs="+", default=["tiny", "mini"])
    arguments.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=["sst2"])
    arguments.add_argument("--rows", type=int, default=2000)
    arguments.add_argument("--epochs", type=float, default=3)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store, kept = encyclopedia(given.data, given.out), given.out / "cells.jsonl"
    files = tables(given.data, given.out / "tables", given.rows)
    cells = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(c["member"], c["size"], c["seed"], c["task"], c["fusion"]) for c in cells}
    for member, size, seed in product(MEMBERS, given.sizes, given.seeds):
        run = given.out / f"{member}-{size}-{given.tokens}-{seed}"
        wanted = [(t, f) for t, f in product(given.tasks, FUSIONS) if (member, size, seed, t, f) not in done]
        if wanted:
            trained(f"{member}:{size}", store, run, given.tokens, seed, [], given.threads)
        for task, fusion in wanted:
            at = {"member": member, "size": size, "seed": seed, "task": task, "fusion": fusion}
            cells.append(cell(at, run, files[task], given))
            with kept.open("a") as file:
                file.write(json.dumps(cells[-1]) + "\n")
            print(json.dumps(cells[-1]), flush=True)
    for name, step in STEPS.items():
        print(f"{name} ({step[1]} less {step[2]}): {worth(cells, *step)}", flush=True)


if __name__ == "__main__":
    main()
