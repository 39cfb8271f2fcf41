"""ERNIE's levels and Chinese whole words in small: what is hidden, read on names in Chinese text.

    python experiments/chinese_masking.py CORPORA --out results [--cells tokens words phrases entities] [--tokens 3000000] [--seeds 0]

Tiny BERTs of Chinese characters on the same million characters of encyclopedia: single characters hidden, whole words (the segmenter's),
and ERNIE's curriculum up to phrases and up to entities, a pass for each of its levels.  Read on names in newspaper text (People's Daily,
entity F1) after fine-tuning on `--rows` sentences.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from glue import _lines

import bertsmith
from bertsmith.recipe import Recipe
from corpora import chinese, mean, paired, trained

LEVELS = {"phrases": ("token", "phrase"), "entities": ("token", "phrase", "entity")}
TUNE = ["epochs=4", "lr=1e-3", "batch=32", "length=128", "precision=auto"]


def recipe_of(cell: str, size: str) -> Recipe:
    if cell not in LEVELS:
        return bertsmith.find(f"{'bert' if cell == 'tokens' else 'bert-wwm'}:{size}")
    recipe = bertsmith.find(f"ernie1:{size}")
    select = replace(recipe.corruption.select, levels=LEVELS[cell])
    # All cells have one body: ERNIE's own activation and norms are another question.
    return replace(
        recipe, model=bertsmith.find(f"bert:{size}").model, corruption=replace(recipe.corruption, select=select)
    )


def people(data: Path, out: Path, rows: int) -> dict[str, Path]:
    files = {}
    for part, count in (("train", rows), ("dev", 300), ("test", 1000)):
        text = "\n".join(_lines(data / "peopledaily_ner", f"example.{part}"))
        found = [sentence for sentence in text.strip().split("\n\n") if sentence.strip()]
        chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:count])
        files[part] = out / f"people-{part}-{len(chosen)}.conll"
        files[part].write_text("\n\n".join(found[i] for i in chosen) + "\n", encoding="utf-8")
    return files


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--cells", nargs="+", default=["tokens", "words", "phrases", "entities"])
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--characters", type=int, default=1_000_000)
    arguments.add_argument("--tokens", type=int, default=3_000_000)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--rows", type=int, default=1500)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store = chinese(given.data, given.out, given.characters)
    files = people(given.data, given.out, given.rows)
    found: dict[str, list[float]] = {cell: [] for cell in given.cells}
    for seed in given.seeds:
        for cell in given.cells:
            run = given.out / f"{cell}-{given.size}-{seed}"
            end = trained(
                recipe_of(cell, given.size), store, run, given.tokens, seed, ["schedule.lr=2e-3"], given.threads
            )
            tuned = given.out / f"{run.name}-people"
            if not (tuned / "result.json").exists():
                options = {"seed": seed, "threads": given.threads, "set": TUNE}
                bertsmith.finetune(run, task="tag", train=files["train"], dev=files["dev"], out=tuned, **options)
            found[cell].append(bertsmith.evaluate(tuned, files["test"])["f1"]["value"])
            held = round(end["evaluation"]["token"]["loss"], 3)
            print(
                json.dumps({"cell": cell, "seed": seed, "held_out": held, "f1": round(found[cell][-1], 4)}), flush=True
            )
    for cell, values in found.items():
        print(f"{cell}: {mean(values)}; less {given.cells[0]}: {paired(values, found[given.cells[0]])}", flush=True)


if __name__ == "__main__":
    main()
