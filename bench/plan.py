"""Whether `bertsmith plan` is right: what it says of five sizes beside what their updates then take, each in a process of its own.

    python bench/plan.py [--threads 2]

Seconds: the median of the updates after the second.  Memory: the most that the process ever held, the program included.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict

import torch
from harness import machine, record

from bertsmith.config import override
from bertsmith.data.batch import Vocab
from bertsmith.data.draw import Draw
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe, find
from bertsmith.training.cost import estimate, full_row
from bertsmith.training.optim import build_optimizer
from bertsmith.training.precision import Precision
from bertsmith.training.step import train_step

# Tokens of an update: enough that a probe of 8,192 tokens has mostly to be extended, little enough for a CPU.
SIZES = {"tiny": 32_768, "mini": 16_384, "small": 16_384, "medium": 8_192, "base": 8_192}
UPDATES = {"tiny": 12, "mini": 10, "small": 6, "medium": 6, "base": 4}
WITHIN = 0.25


def recipe_of(size: str) -> Recipe:
    settings = [f"training.batch={SIZES[size]}", "layout.length=128", "model.dropout=0.0", "training.accumulate=1"]
    return override(find(f"bert:{size}"), settings).with_vocab(30522)


def planned(size: str, threads: int) -> dict:
    cost = estimate(recipe_of(size), threads=threads)
    return {name: asdict(cost)[name] for name in ("seconds", "memory", "flops", "parameters")}


def measured(size: str, threads: int) -> dict:
    torch.set_num_threads(threads)
    recipe = recipe_of(size)
    precision = Precision.choose(recipe.training.precision, torch.device("cpu"))
    vocab = Vocab(size=30522, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    member = build(recipe)
    optimizer = build_optimizer(member, recipe.schedule)
    seconds = []
    with precision.policy():
        for step in range(1, UPDATES[size] + 1):
            batch = recipe.corruption(full_row(recipe, vocab, SIZES[size]), vocab, Draw(step))
            start = time.perf_counter()
            train_step(member, [batch], batch.counts(), optimizer, precision=precision, clip=1.0, seed=0, step=step)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": statistics.median(seconds[2:]), "memory": peak}


def child(what: str, size: str, threads: int) -> dict:
    command = [sys.executable, __file__, "--child", what, "--only", size, "--threads", str(threads)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--only", choices=SIZES)
    arguments.add_argument("--child", choices=("planned", "measured"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        print(json.dumps({"planned": planned, "measured": measured}[given.child](given.only, given.threads)))
        return
    about, rows = machine(given.threads), []
    for size in [given.only] if given.only else SIZES:
        load = os.getloadavg()[0]
        said, found = (child(what, size, given.threads) for what in ("planned", "measured"))
        apart = {name: said[name] / found[name] - 1 for name in found}
        rows.append(
            {"size": size, "tokens": SIZES[size], "load": load, "planned": said, "measured": found, "apart": apart}
        )
        print(
            f"bert:{size:7} {SIZES[size]:6,} tokens an update: {said['seconds']:.3f} s planned, {found['seconds']:.3f} s measured ({apart['seconds']:+.0%}); "
            f"{said['memory'] / 2**30:.2f} GiB planned, {found['memory'] / 2**30:.2f} GiB measured ({apart['memory']:+.0%})",
            flush=True,
        )
    if not given.only:
        print(record("plan", about, rows))
    wrong = [row["size"] for row in rows if any(abs(value) > WITHIN for value in row["apart"].values())]
    if wrong:
        sys.exit(f"plan is more than {WITHIN:.0%} off for {', '.join(wrong)}")


if __name__ == "__main__":
    main()
