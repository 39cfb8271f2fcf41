"""ELECTRA against masked models at equal cost: the same floating-point operations, not the same tokens.

    python experiments/electra_flops.py CORPORA --out results [--cells mlm electra electra-tied] [--tokens 4000000] [--seeds 0 1 2]

`mlm` is ELECTRA's model, layout and share of hidden tokens with BERT's objective; it reads `--tokens`, the others as many as cost the same
operations (as torch counts them, generator included).  `electra-tied` is its own generator (section 3.2: all weights tied).  Read on names
(CoNLL-2003, entity F1) after fine-tuning.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from masking_schemes import read

import bertsmith
from bertsmith.config import override
from bertsmith.data.rewrite import InPlace
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Recipe
from bertsmith.text.store import Store
from bertsmith.training.cost import estimate
from corpora import QUICK, english, mean, paired, trained

TIED = ["objective.generator=1", "objective.share=all"]
# The highest at which the discriminator learns (LOG.md); members that answer with tokens bear more.
RATES = {"electra": 7e-4, "electra-15": 7e-4, "electra-tied": 1.5e-3}


def recipe_of(cell: str, size: str) -> Recipe:
    if cell == "electra-tied":
        return override(bertsmith.find(f"electra:{size}"), TIED)
    if cell != "mlm":
        return bertsmith.find(f"{cell}:{size}")
    recipe = bertsmith.find(f"electra:{size}")
    corruption = replace(recipe.corruption, rewrite=InPlace(mask=0.8, random=0.1))
    return replace(recipe, name="mlm", corruption=corruption, objective=Predict(heads=(Tokens(),)))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--cells", nargs="+", default=["mlm", "electra", "electra-tied"])
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--tokens", type=int, default=4_000_000, help="that mlm reads")
    arguments.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of every cell")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--rows", type=int, default=1000)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    folder = english(given.data, given.out)
    store = Store.open(folder)
    found: dict[str, list[float]] = {cell: [] for cell in given.cells}
    costs = {}
    for cell in ["mlm", *given.cells]:
        recipe = override(recipe_of(cell, given.size), [*QUICK, *given.set])
        costs[cell] = estimate(recipe, store, threads=given.threads).run(1)["flops"]
    for seed in given.seeds:
        for cell in given.cells:
            tokens = round(given.tokens * costs["mlm"] / costs[cell])
            run = given.out / f"{cell}-{given.size}-{seed}"
            sets = [f"schedule.lr={RATES.get(cell, 2e-3)}", *given.set]
            end = trained(recipe_of(cell, given.size), folder, run, tokens, seed, sets, given.threads)
            f1 = read(run, "tag", given.data, given.out, given.rows, seed, given.threads)
            found[cell].append(f1)
            held = {term: {k: round(v, 3) for k, v in means.items()} for term, means in end["evaluation"].items()}
            print(
                json.dumps({"cell": cell, "seed": seed, "tokens": tokens, "tag": round(f1, 4), "held_out": held}),
                flush=True,
            )
    for cell, values in found.items():
        print(f"{cell}: {mean(values)}; less {given.cells[0]}: {paired(values, found[given.cells[0]])}", flush=True)


if __name__ == "__main__":
    main()
