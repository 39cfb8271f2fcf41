"""Peak memory of a training step, beside transformers: each side in a process of its own, the same weights and tokens.

    python bench/memory.py [--threads 2]

B and D as in bench/step.py.
"""

import argparse
import json
import os
import resource
import subprocess
import sys

import torch
from harness import machine, record
from step import CPU, LIMIT, Bench, Ours, Theirs, batch_of, lengths, padded, recipe_of

from bertsmith.nn.member import build
from bertsmith.training.precision import Precision

BENCHES = {
    "MLM base, full rows, 4,096 tokens": Bench("", "base", 30522, lengths("full", 32), "token"),
    "MLM base, lengths like Wikipedia's, 4,096 tokens": Bench("", "base", 30522, lengths("wikipedia", 64), "token"),
}
SIDES = ("ours", "B", "D")
STEPS = 3


def peak(name: str, side: str, threads: int) -> int:
    """Bytes."""
    torch.set_num_threads(threads)
    bench = BENCHES[name]
    recipe, batch = recipe_of(bench), batch_of(bench)
    state = build(recipe).state_dict()
    if side == "ours":
        step = Ours(recipe, state, batch, Precision.choose("auto", CPU))
    else:
        longest = max(bench.lengths) if side == "B" else LIMIT
        step = Theirs(recipe, state, padded(batch, bench.task, longest), side == "B", 0.0 if side == "B" else 0.1)
    del state
    for _ in range(STEPS):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        print(json.dumps(peak(*given.child, given.threads)))
        return
    rows = []
    for name in BENCHES:
        command = [sys.executable, __file__, "--threads", str(given.threads), "--child", name]
        found = {
            side: json.loads(subprocess.run([*command, side], stdout=subprocess.PIPE, check=True, text=True).stdout)
            for side in SIDES
        }
        rates = {side: value / 2**30 for side, value in found.items()}
        ratio = {side: found[side] / found["ours"] for side in SIDES[1:]}
        rows.append({"bench": f"peak memory, {name}", "unit": "GiB", "rate": rates, "ratio": ratio})
        print(rows[-1], flush=True)
    print(record("memory", machine(given.threads), rows))


if __name__ == "__main__":
    main()
