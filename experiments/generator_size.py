"""ELECTRA's figure 3 in small: how large should the generator be?

    python experiments/generator_size.py CORPORA --out results [--tokens 6000000] [--seeds 3] [--threads 2]

Mini members that differ in the generator's width alone, beside one whose generator is the model itself and the three members that lie
between ELECTRA and BERT; read on the discriminator's area under the ROC curve, held out, and on accuracy on the test set of SST-2.
All read the same tokens; `flops` says what that costs.
"""

import argparse
import json
import time
from pathlib import Path

from glue import _lines, tables

import bertsmith
from bertsmith.config import override
from bertsmith.text.store import Store
from bertsmith.training.cost import estimate

SETTINGS = ["training.evaluate=0", "training.checkpoint=100000"]
CELLS = {
    "width 1/8": ("electra", ["objective.generator=0.125"]),
    "width 1/4": ("electra", ["objective.generator=0.25"]),
    "width 1/2": ("electra", ["objective.generator=0.5"]),
    "width 1": ("electra", ["objective.generator=1"]),
    "the model": ("electra", ["objective.generator=1", "objective.share=all"]),
    "own embeddings": ("electra", ["objective.generator=0.5", "objective.share=none"]),
    "15 %": ("electra-15", []),
    "replace": ("electra-replace", []),
    "all tokens": ("electra-all-tokens", []),
    "bert": ("bert", []),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", default="mini")
    arguments.add_argument("--tokens", type=int, default=6_000_000)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--cells", nargs="*", default=list(CELLS))
    arguments.add_argument("--characters", type=int, default=30_000_000)
    arguments.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of every cell")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "store"
    if not store.exists():
        text = given.out / "wiki.txt"
        text.write_text("\n".join(_lines(given.data / "en_wiki", ""))[: given.characters], encoding="utf-8")
        bertsmith.prepare([str(text)], str(store), tokenizer="wordpiece:8000", lowercase=True, holdout=0.02, say=print)
    train, dev, test = tables(given.data, given.out / "tasks")["sst2"]
    for seed in range(given.seeds):
        for name in given.cells:
            member, sets = CELLS[name]
            recipe = override(bertsmith.find(f"{member}:{given.size}"), [*SETTINGS, *given.set, *sets])
            run = given.out / f"{name.replace(' ', '-').replace('/', '-')}-{seed}"
            if run.exists():
                continue
            began = time.time()
            end = bertsmith.pretrain(recipe, store, run, tokens=given.tokens, seed=seed, threads=given.threads)
            options = {"seed": seed, "threads": given.threads, "set": ["epochs=3"]}
            tuned = given.out / f"{run.name}-sst2"
            bertsmith.finetune(run, task="classify", train=train, dev=dev, out=tuned, **options)
            score = bertsmith.evaluate(tuned, test)["accuracy"]["value"]
            found = {term: {k: round(v, 4) for k, v in means.items()} for term, means in end["evaluation"].items()}
            cost = estimate(recipe, Store.open(store), threads=given.threads).run(given.tokens)["flops"]
            line = {"cell": name, "seed": seed, "sst2": score, "evaluation": found, "flops": cost}
            print(json.dumps({**line, "seconds": round(time.time() - began)}), flush=True)


if __name__ == "__main__":
    main()
