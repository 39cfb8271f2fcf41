"""Every member for five minutes on real text: does each learn what it is asked, and how fast is it beside BERT?

    python experiments/members.py CORPORA --out results [--members bert xlnet …] [--minutes 5 | --tokens 3000000] [--size tiny]
                                  [--threads 1] [--store STORE]
    python experiments/members.py CORPORA --out results --speed

English members read newswire (reuters21578), Chinese ones (bert-wwm:zh, ernie1:zh) the Chinese Wikipedia, with its words, phrases by
statistics and entities from a word list.  A line for each member: losses of its terms over the first and last twentieth of its updates,
held-out losses, how far the token loss lies below the unigram entropy; the discriminator's area under the ROC curve; accuracy on
segment pairs, with its 95 % interval, where no segment begins a document.  `--speed`: updates in turns with BERT's, on the same text.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.nn.member import build
from bertsmith.recipe import members
from bertsmith.text.store import Store
from bertsmith.training.evaluate import batch_scores
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.run import open_store
from bertsmith.training.step import train_step
from corpora import QUICK, chinese, english, inside

SETTINGS = [*QUICK, "schedule.lr=2e-3"]
CHINESE = {"bert-wwm:zh": "bert-wwm", "ernie1:zh": "ernie1", "bert:zh": "bert"}
REPEAT, UPDATES = 5, 4


def learned(name: str, store: Store, run: Path, given: argparse.Namespace) -> dict:
    recipe = override(bertsmith.find(f"{CHINESE.get(name, name)}:{given.size}"), [*SETTINGS, *given.set])
    long = {"tokens": given.tokens} if given.tokens else {"minutes": given.minutes}
    end = bertsmith.pretrain(recipe, store, run, **long, threads=given.threads, seed=given.seed)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    part = max(1, len(lines) // 20)
    fell = {
        term: [round(_mean(some, term), 3) for some in (lines[:part], lines[-part:])] for term in lines[-1]["terms"]
    }
    held = {term: {k: round(v, 4) for k, v in means.items()} for term, means in end["evaluation"].items()}
    token = next(term for term in held if term.split(".")[-1] == "token")  # of several feeds `feed.token`
    below = end["unigram_entropy"] - held[token]["loss"]
    found = {"member": name, "updates": end["steps"], "tokens": end["tokens"], "seconds": round(end["seconds"])}
    found |= {"fell": fell, "held_out": held, "below_entropy": round(below, 3)}
    if "pair" in held:
        found["pairs"] = pair_accuracy(run, store)
    return found


def _mean(lines: list[dict], term: str) -> float:
    return float(np.mean([line["terms"][term] for line in lines if line["terms"].get(term) is not None] or [np.nan]))


def pair_accuracy(run: Path, store: Store, epochs: int = 2) -> dict:
    """Over held-out pairs of which no segment begins a document (which would give its place away): accuracy, interval, share of the
    commonest label."""
    loaded = bertsmith.load(run)
    recipe = loaded.recipe
    correct = count = 0
    labels: list[int] = []
    for epoch in range(epochs):
        plan, chosen = inside(recipe.layout, store.held_out, store.vocab, 1, epoch)
        for at in range(0, len(chosen), 128):
            batch = recipe.corruption(plan.row(chosen[at : at + 128]), store.vocab, Draw(1))
            (scores,) = batch_scores(loaded.member, [batch], loaded.exact)
            correct, count = correct + scores["pair"]["correct"], count + scores["pair"]["count"]
            labels += batch.targets["pair"].labels.tolist()
    share = correct / count
    half = 1.96 * np.sqrt(share * (1 - share) / count)
    return {"accuracy": round(share, 4), "interval": [round(share - half, 4), round(share + half, 4)], "n": int(count),
            "commonest": round(float(np.bincount(labels).max() / len(labels)), 4)}  # fmt: skip


def speeds(names: list[str], store: Store, given: argparse.Namespace) -> None:
    """Tokens/s of each, in turns with BERT's."""
    torch.set_num_threads(given.threads)
    precision = Precision.choose("auto", torch.device("cpu"))
    for name in names:
        ways = {way: _updates(way, store, given, precision) for way in ("bert", name)}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(REPEAT):
            for way, run in ways.items():
                rates[way].append(run())
        best = {way: max(found[1:]) for way, found in rates.items()}
        line = {"member": name, "tokens/s": round(best[name]), "of bert": round(best[name] / best["bert"], 3)}
        print(json.dumps({**line, "load": round(os.getloadavg()[0], 2)}), flush=True)


def _updates(name: str, store: Store, given: argparse.Namespace, precision: Precision):
    """A function that makes UPDATES updates and gives their tokens/s; the data is ready beforehand."""
    recipe = override(bertsmith.find(f"{name}:{given.size}"), ["layout.length=128", "training.batch=8192", *given.set])
    recipe = recipe.with_vocab(store.vocab.size)
    loader = iter(Loader(Text.of(recipe, store, 0)))
    steps = [next(loader) for _ in range(UPDATES)]
    member = build(recipe)
    optimizer = build_optimizer(member, recipe.schedule)
    set_rate(optimizer, 1e-5)

    def run() -> float:
        begun = time.perf_counter()
        with precision.policy():
            for number, step in enumerate(steps):
                train_step(
                    member, step.batches, step.counts, optimizer, precision=precision, clip=1.0, seed=0, step=number + 1
                )
        return sum(step.tokens for step in steps) / (time.perf_counter() - begun)

    return run


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--members", nargs="*")
    arguments.add_argument("--minutes", type=float, default=5)
    arguments.add_argument(
        "--tokens", type=int, help="instead: what five minutes of a core are on a machine that others share"
    )
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    arguments.add_argument(
        "--store", type=Path, help="what they read instead: with capitals (ernie2), links (ernie-thu), sound"
    )
    arguments.add_argument("--speed", action="store_true")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    read = [name for name, member in sorted(members().items()) if next(iter(member.sizes.values()))().reads == "tokens"]
    names = given.members or [*read, *CHINESE]
    if given.speed:
        speeds([name for name in names if name not in CHINESE], Store.open(english(given.data, given.out)), given)
        return
    for name in names:
        store = open_store(given.store or (chinese if name in CHINESE else english)(given.data, given.out))
        run = given.out / f"{name.replace(':', '-')}-{given.size}-{given.seed}"
        if not run.exists():
            print(json.dumps(learned(name, store, run, given)), flush=True)


if __name__ == "__main__":
    main()
