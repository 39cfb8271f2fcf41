"""Does bfloat16 learn as float32 does?  The same tiny member, data and order in both, several seeds; read on held-out masked loss.

    python experiments/precision.py CORPORA --out results [--tokens 4000000] [--seeds 3] [--threads 2]

A seed draws weights, order and masks, so that the two runs of a seed are a pair; the interval is of the mean difference (t, 95 %).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from glue import _lines
from scipy import stats

import bertsmith
from bertsmith.config import override


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--tokens", type=int, default=4_000_000)
    arguments.add_argument("--characters", type=int, default=4_000_000, help="about a million tokens")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--threads", type=int)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    text, store = given.out / "wiki.txt", given.out / "store"
    text.write_text("\n".join(_lines(given.data / "en_wiki", ""))[: given.characters], encoding="utf-8")
    if not store.exists():
        bertsmith.prepare([str(text)], str(store), tokenizer="wordpiece:4000", lowercase=True, holdout=0.1, say=print)
    losses: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for seed in range(given.seeds):
        for precision, found in losses.items():
            settings = ["training.batch=1024", "schedule.lr=2e-3", "training.evaluate=0", "training.checkpoint=100000"]
            recipe = override(bertsmith.find("roberta:tiny"), [*settings, f"training.precision={precision}"])
            run = given.out / f"{precision}-{seed}"
            end = bertsmith.pretrain(
                recipe, store, run, tokens=given.tokens, seed=seed, threads=given.threads, resume=True
            )
            found.append(end["evaluation"]["token"]["loss"])
            seconds, entropy = end["seconds"], end["unigram_entropy"]
            line = {"precision": precision, "seed": seed, "loss": found[-1], "seconds": seconds, "entropy": entropy}
            print(json.dumps(line), flush=True)
    apart = np.subtract(losses["bfloat16"], losses["float32"])
    mean, error = apart.mean(), stats.sem(apart)
    low, high = stats.t.interval(0.95, len(apart) - 1, mean, error)
    spread = {name: [round(float(np.mean(v)), 4), round(float(np.std(v, ddof=1)), 4)] for name, v in losses.items()}
    print(json.dumps({**spread, "bfloat16 - float32": [float(mean), float(low), float(high)]}))


if __name__ == "__main__":
    main()
