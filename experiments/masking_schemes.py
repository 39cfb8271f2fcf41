"""SpanBERT's table 6 in small: does it matter whether tokens, whole words or geometric spans are hidden?

    python experiments/masking_schemes.py CORPORA --out results [--schemes token word geometric] [--read tag qa] [--tokens 4000000] [--seeds 3]

Tiny members on newswire that differ in what is hidden alone (single segments, masked tokens, no boundary objective; 15 % each), each
fine-tuned on names (CoNLL-2003, entity F1) or on answers in texts (SQuAD, F1).  Pairs of a seed share weights and order of texts.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tag_qa import names, questions

import bertsmith
from bertsmith.data.rewrite import InPlace
from bertsmith.data.spans import Spans
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Recipe
from corpora import english, mean, paired, trained

TUNE = {
    "tag": ["epochs=4", "lr=1e-3", "batch=32", "length=96", "precision=auto"],
    "qa": ["epochs=3", "lr=1e-3", "batch=16", "length=224", "precision=auto"],
}


def recipe_of(scheme: str, size: str) -> Recipe:
    rewrite = InPlace(mask=0.8, random=0.1, by="span" if scheme == "geometric" else "token", noise="corpus")
    select = Spans(units=scheme, rate=0.15, rounding="ceil")  # type: ignore[arg-type]
    recipe = bertsmith.find(f"spanbert:{size}")
    corruption = Corruption(select=select, rewrite=rewrite)
    return replace(recipe, name="schemes", corruption=corruption, objective=Predict(heads=(Tokens(),)))


def read(run: Path, task: str, data: Path, out: Path, rows: int, seed: int, threads: int) -> float:
    """F1 on the test rows after fine-tuning `run`."""
    files = names(data, out, rows) if task == "tag" else questions(data, out, rows, none=False)
    tuned = run.parent / f"{run.name}-{task}"
    if not (tuned / "result.json").exists():
        options = {"seed": seed, "threads": threads, "set": TUNE[task]}
        bertsmith.finetune(run, task=task, train=files["train"], dev=files["dev"], out=tuned, **options)
    return bertsmith.evaluate(tuned, files["test"])["f1"]["value"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--schemes", nargs="+", default=["token", "word", "geometric"])
    arguments.add_argument("--read", nargs="+", choices=("tag", "qa"), default=["tag"])
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--tokens", type=int, default=4_000_000)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--rows", type=int, default=1000)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store = english(given.data, given.out)
    found: dict[str, dict[str, list[float]]] = {task: {scheme: [] for scheme in given.schemes} for task in given.read}
    for seed in given.seeds:
        for scheme in given.schemes:
            run = given.out / f"{scheme}-{given.size}-{seed}"
            end = trained(
                recipe_of(scheme, given.size), store, run, given.tokens, seed, ["schedule.lr=2e-3"], given.threads
            )
            line = {"scheme": scheme, "seed": seed, "held_out": round(end["evaluation"]["token"]["loss"], 3)}
            for task in given.read:
                f1 = read(run, task, given.data, given.out, given.rows, seed, given.threads)
                found[task][scheme].append(f1)
                line[task] = round(f1, 4)
            print(json.dumps(line), flush=True)
    for task, schemes in found.items():
        base = schemes[given.schemes[0]]
        for scheme, values in schemes.items():
            print(f"{task} {scheme}: {mean(values)}; less {given.schemes[0]}: {paired(values, base)}", flush=True)


if __name__ == "__main__":
    main()
