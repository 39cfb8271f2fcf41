"""RoBERTa's tables 1 and 2 in small: static, static x 10 and dynamic masks; the four input formats.

    python experiments/masks_and_formats.py CORPORA --out results [--tokens 2400000] [--seeds 3] [--threads 2]

Tiny members that read about 130,000 tokens eighteen times (else static masks never repeat), which takes about 90 seconds on two
cores; read on held-out masked loss and on accuracy on the test set of SST-2.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from glue import _lines, tables

import bertsmith
from bertsmith.config import override
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.text.layout import DocSentences, FullSentences, SegmentPairs, SentencePairs

FORMATS = {
    "segment-pair": SegmentPairs(length=128),
    "sentence-pair": SentencePairs(length=128),
    "full-sentences": FullSentences(length=128),
    "doc-sentences": DocSentences(length=128),
}


def cells():
    """Name and recipe of every cell; all differ in one thing from `dynamic` on full sentences."""
    base = override(
        bertsmith.find("bert:tiny"),
        ["training.batch=1024", "schedule.lr=2e-3", "training.evaluate=0", "training.checkpoint=100000"],
    )
    alone = replace(base, layout=FORMATS["full-sentences"], objective=Predict(heads=(Tokens(),)))
    for name, copies in (("static", 1), ("static x 10", 10), ("dynamic", 0)):
        yield name, replace(alone, corruption=replace(alone.corruption, copies=copies))
    for name, layout in FORMATS.items():
        heads = (Tokens(), Pair()) if name.endswith("pair") else (Tokens(),)
        if name != "full-sentences":  # that cell is `dynamic`
            yield name, replace(base, layout=layout, objective=Predict(heads=heads))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--tokens", type=int, default=2_400_000)
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--characters", type=int, default=500_000, help="about 130,000 tokens: static masks repeat")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    text = given.out / "wiki.txt"
    text.write_text("\n".join(_lines(given.data / "en_wiki", ""))[: given.characters], encoding="utf-8")
    store = given.out / "store"
    if not store.exists():
        bertsmith.prepare([str(text)], str(store), tokenizer="wordpiece:4000", lowercase=True, holdout=0.12, say=print)
    train, dev, test = tables(given.data, given.out / "tasks")["sst2"]
    for seed in range(given.seeds):
        for name, recipe in cells():
            run = given.out / f"{name.replace(' ', '-')}-{seed}"
            if run.exists():
                continue
            began = time.time()
            end = bertsmith.pretrain(recipe, store, run, tokens=given.tokens, seed=seed, threads=given.threads)
            tuned = given.out / f"{run.name}-sst2"
            options = {"seed": seed, "threads": given.threads, "set": ["epochs=3"]}
            bertsmith.finetune(run, task="classify", train=train, dev=dev, out=tuned, **options)
            score = bertsmith.evaluate(tuned, test)["accuracy"]["value"]
            loss, seconds = end["evaluation"]["token"]["loss"], round(time.time() - began)
            line = {"cell": name, "seed": seed, "loss": loss, "sst2": score, "steps": end["steps"], "seconds": seconds}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
