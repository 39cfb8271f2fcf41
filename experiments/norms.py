"""Which norm, and where: each kind pre-trained by itself, and what is left of a model whose norm is exchanged afterwards.

    python experiments/norms.py CORPORA --out results [--member gpt] [--tokens 600000] [--seeds 1] [--threads 1]

Tiny members that differ in their norms alone read newswire for as many tokens; held-out loss of a token in nats.  Then the norm of the
first (a layer norm on every sum, BERT's and GPT's) is exchanged for each of the others, as one might before a fine-tuning: all weights
stay that both have, and what the other has besides begins as fresh ones do.  Its loss before any update stands beside that of fresh
weights.  A language model learns soonest to read a context; a member that fills masks knows but the words' frequencies after so few
tokens, which its head's bias holds, and no exchange of a norm can take that from it.  A minute of a free core for each kind.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

import bertsmith
from bertsmith.config import override
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.member import build
from bertsmith.nn.norms import LayerNorm, NoNorm, RMSNorm
from bertsmith.recipe import Recipe
from bertsmith.text.store import Store
from bertsmith.training.evaluate import fixed_batches_of, held_out
from bertsmith.training.precision import Precision
from corpora import QUICK, english

FIRST = "post, layer norm"
NORMS = {
    FIRST: (PostNorm(), LayerNorm()),
    "pre, layer norm": (PreNorm(), LayerNorm()),
    "post, root mean square": (PostNorm(), RMSNorm()),
    "pre, root mean square": (PreNorm(), RMSNorm()),
    "none": (PostNorm(), NoNorm()),
}


def recipe_of(member: str, block, norm) -> Recipe:
    base = override(bertsmith.find(f"{member}:tiny"), [*QUICK, "schedule.lr=2e-3"])
    return replace(base, model=replace(base.model, block=block, norm=norm))


def loss(recipe: Recipe, store: Store, state: dict[str, torch.Tensor]) -> float:
    """Held-out loss of a token of fresh weights with those of `state` in the place of what is called and shaped as they are."""
    torch.manual_seed(0)
    member = build(recipe.with_vocab(store.vocab))
    own = member.state_dict()
    member.load_state_dict(
        {
            name: state.get(name, x) if getattr(state.get(name), "shape", None) == x.shape else x
            for name, x in own.items()
        }
    )
    exact = Precision(compute="float32", device=torch.device("cpu"), matmul="highest")
    return held_out(member, fixed_batches_of(recipe, store), exact)["token"]["loss"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--member", default="gpt")
    arguments.add_argument("--tokens", type=int, default=600_000)
    arguments.add_argument("--norms", nargs="*", choices=[*NORMS], default=[*NORMS][1:], help="that are pre-trained")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seeds", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    store = Store.open(english(given.data, given.out))
    print(json.dumps({"unigram_entropy": round(store.unigram_entropy(), 3)}), flush=True)
    for seed in range(given.seeds):
        state = weights(FIRST, seed, given, store)
        for name in NORMS:
            recipe = recipe_of(given.member, *NORMS[name])
            line = {"seed": seed, "norm": name, "fresh": loss(recipe, store, {})}
            line["exchanged" if name != FIRST else "held_out"] = loss(recipe, store, state)
            print(json.dumps(line), flush=True)
        for name in given.norms:
            held_out = loss(recipe_of(given.member, *NORMS[name]), store, weights(name, seed, given, store))
            print(json.dumps({"seed": seed, "norm": name, "held_out": held_out}), flush=True)


def weights(name: str, seed: int, given: argparse.Namespace, store: Store) -> dict[str, torch.Tensor]:
    """Of a member with that norm, after its tokens."""
    run = given.out / f"{given.member}-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    if not run.exists():
        recipe = recipe_of(given.member, *NORMS[name])
        bertsmith.pretrain(recipe, store, run, tokens=given.tokens, seed=seed, threads=given.threads)
    return bertsmith.load(run).member.state_dict()


if __name__ == "__main__":
    main()
