"""Which recipe for a small corpus and one machine?  Arms at equal minutes of one thread, by bits per byte of text that none of them read and by SST-2.

python experiments/best.py CORPORA --out results run [--minutes 2] [--seeds 1] [--arms roberta masks-falling …] [--arm 'mine=roberta:mini schedule.lr=2e-3']
python experiments/best.py CORPORA --out results table

`run` pre-trains each arm for so many minutes on each corpus (5 MB of Wikipedia, of novels), all over one store and in turns of seeds, hides each
word of 200 sentences that were kept apart (`score`), and fine-tunes on 1,000 rows of SST-2.  A cell is written to results/cells.jsonl as it ends;
the same command again does those that are missing.  Arms change one thing of `roberta:mini` each, or are another member of its size; those that
help are put together by `--arm`, and that is run against `roberta` at 2, 5 and 10 minutes.  `table`: means, differences from the first arm with
intervals over the same sentences and seeds (bootstrap), and which arm has after a third of the minutes what the first has after all of them.
The machine must be idle: a budget of minutes buys fewer updates where others work.  `load` stands beside every cell.
"""

import argparse
import csv
import json
import lzma
import os
import shlex
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

CORPORA = {"wiki": "en_wiki", "novels": "en_novels"}
CHARACTERS = 5_000_000
SHORT = [
    "layout.length=64",
    "training.batch=1024",
]  # what two minutes choose, for arms whose other settings go with them
ROBERTA = "roberta:mini"
FALLING = ["corruption.select.rate=0.4", "schedule.ramps.mask_rate=0.15"]
WSD = ["schedule.decay=wsd", "schedule.warmup=0.05", "schedule.cooldown=0.3"]
GROWS = ["schedule.ramps.batch=0.25", "schedule.ramps.batch_until=0.7"]
ARMS: dict[str, tuple[str, list[str]]] = {
    "roberta": (ROBERTA, []),
    "bert": ("bert:mini", []),
    # How much is hidden, and how it is asked for.
    "masks-30": (ROBERTA, ["corruption.select.rate=0.3"]),
    "masks-40": (ROBERTA, ["corruption.select.rate=0.4"]),
    "masks-falling": (ROBERTA, FALLING),
    "all-masks": (ROBERTA, ["corruption.rewrite.random=0.0", "corruption.rewrite.mask=1.0"]),
    "causal-first": (ROBERTA, ["schedule.ramps.causal=0.25"]),
    # The rate, and who moves the weights.
    "rate-double": (ROBERTA, ["schedule.lr=2e-3"]),
    "rate-triple": (ROBERTA, ["schedule.lr=3e-3"]),
    "wsd": (ROBERTA, WSD),
    "trapezoid": (ROBERTA, ["schedule.decay=trapezoid", *WSD[1:]]),
    "muon": (ROBERTA, ["schedule.optimizer=muon"]),
    "muon-double": (ROBERTA, ["schedule.optimizer=muon", "schedule.lr=2e-3"]),
    "stable-adamw": (ROBERTA, ["schedule.optimizer=stable-adamw", "schedule.weight_decay=1e-5", "schedule.clip=0"]),
    "lamb": (ROBERTA, ["schedule.optimizer=lamb", "schedule.lr=1e-2", "schedule.weight_decay=0.1"]),
    "average": (ROBERTA, ["schedule.average=0.995"]),
    # Updates and rows.
    "batch-512": (ROBERTA, ["training.batch=512", "layout.length=64"]),
    "batch-2048": (ROBERTA, ["training.batch=2048", "layout.length=64"]),
    "batch-grows": (ROBERTA, [*GROWS, "training.batch=2048", "layout.length=64"]),
    "rows-grow": (
        ROBERTA,
        ["schedule.ramps.lengths=[[32, 0.4], [64, 0.8]]", "training.batch=1024", "layout.length=128"],
    ),
    # Other bodies and questions.
    "modernbert": ("modernbert:mini", SHORT),
    "crammed": ("crammed:mini", []),
    "deberta": ("deberta:mini", []),
    "ltg-bert": ("ltg-bert:mini", []),
    "gpt-bert": ("gpt-bert:mini", []),
    "gpt-bert-even": ("gpt-bert:mini", ["mixture.shares.weights=[1, 1]"]),
}


def text_of(data: Path, corpus: str) -> str:
    """Its first 10 MB."""
    found: list[str] = []
    for path in sorted((data / CORPORA[corpus]).glob("*.txt.xz")):
        if sum(map(len, found)) < 2 * CHARACTERS:
            with lzma.open(path, "rt", encoding="utf-8") as file:
                found.append(file.read(2 * CHARACTERS))
    return "\n\n".join(found)


def prepared(data: Path, out: Path, corpus: str, count: int) -> tuple[Path, list[str]]:
    """A store of the beginning of a corpus, and sentences of documents behind it."""
    import bertsmith

    folder, held = out / corpus, out / f"{corpus}-held.json"
    if not held.exists():
        text = text_of(data, corpus)
        cut = text.index("\n\n", min(CHARACTERS, len(text) // 2))
        lines = [line.strip() for line in text[cut : cut + CHARACTERS].split("\n")]
        lines = [line for line in lines if 60 <= len(line) <= 240]
        chosen = [lines[i] for i in np.random.default_rng(0).permutation(len(lines))[:count]]
        (out / f"{corpus}.txt").write_text(text[:cut], encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        bertsmith.prepare([out / f"{corpus}.txt"], folder, tokenizer="bpe:8000", holdout=0.02)
        held.write_text(json.dumps(chosen), encoding="utf-8")
    return folder, json.loads(held.read_text(encoding="utf-8"))


def sst2(data: Path, out: Path, count: int) -> dict[str, Path]:
    paths = {part: out / f"sst2-{part}.jsonl" for part in ("train", "dev", "test")}
    if not all(path.exists() for path in paths.values()):
        rows = {}
        for part in ("train", "test"):
            with lzma.open(data / "sst2" / f"{part}.tsv.xz", "rt", encoding="utf-8", newline="") as file:
                read = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) > 1]
            rows[part] = [
                {"text": read[i][0], "label": read[i][1]} for i in np.random.default_rng(0).permutation(len(read))
            ]
        parts = {"train": rows["train"][:count], "dev": rows["train"][count : count + 200], "test": rows["test"][:1000]}
        for part, chosen in parts.items():
            paths[part].write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return paths


def carried(given: argparse.Namespace, cell: dict[str, Any], recipe: str, sets: list[str]) -> dict[str, Any]:
    """What came of one arm on one corpus."""
    import bertsmith

    store, held = prepared(given.data, given.out, cell["corpus"], given.sentences)
    paths, run, tuned = sst2(given.data, given.out, given.rows), given.out / "run", given.out / "tuned"
    for folder in (run, tuned):
        shutil.rmtree(folder, ignore_errors=True)
    load, begun = os.getloadavg()[0], time.monotonic()
    options = {"seed": cell["seed"], "threads": 1, "device": "cpu"}
    chosen = [*sets, "training.evaluate=0", "training.checkpoint=1000000"]
    made = bertsmith.pretrain(recipe, store, run, minutes=cell["minutes"], set=chosen, **options)
    spent = time.monotonic() - begun
    scored = bertsmith.score(run, held)
    rows = {part: paths[part] for part in ("train", "dev")}
    bertsmith.finetune(run, task="classify", **rows, out=tuned, set=["length=64"], allow_unknown=True, **options)
    judged = bertsmith.evaluate(tuned, input=paths["test"])
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))["recipe"]
    return {
        "bits": [-text["logprob"] / np.log(2) for text in scored["texts"]],
        "bytes": [text["bytes"] for text in scored["texts"]],
        "sst2": judged["accuracy"]["value"],
        "steps": made["steps"],
        "batch": config["training"]["batch"],
        "lr": config["schedule"]["lr"],
        "seconds": spent,
        "load": load,
    }


def run(given: argparse.Namespace) -> None:
    arms = {name: ARMS[name] for name in given.arms or ([] if given.arm else ARMS)}
    for asked in given.arm:
        name, _, of = asked.partition("=")
        recipe, *sets = shlex.split(of)
        arms[name] = recipe, sets
    given.out.mkdir(parents=True, exist_ok=True)
    results = given.out / "cells.jsonl"
    done = [] if not results.exists() else [json.loads(line) for line in results.read_text().splitlines()]
    ended = [
        {key: cell.get(key) for key in ("arm", "recipe", "sets", "corpus", "minutes", "seed")}
        for cell in done
        if "error" not in cell
    ]
    for seed in range(given.seeds):
        for minutes in given.minutes:
            for corpus in given.corpora:
                for name, (recipe, sets) in arms.items():
                    cell = {
                        "arm": name,
                        "recipe": recipe,
                        "sets": sets,
                        "corpus": corpus,
                        "minutes": minutes,
                        "seed": seed,
                    }
                    if cell in ended:
                        continue
                    try:
                        found = carried(given, cell, recipe, sets)
                    except Exception as error:  # one arm that fails is said, and ends nothing else
                        found = {"error": f"{type(error).__name__}: {error}"}
                    with results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({**cell, **found}) + "\n")
                    said = (
                        found.get("error")
                        or f"{_bits(found):.4f} bits per byte, SST-2 {found['sst2']:.3f}, {found['steps']} steps"
                    )
                    print(f"{corpus} {minutes:g} min seed {seed} {name}: {said}", flush=True)


def _bits(cell: dict[str, Any]) -> float:
    return sum(cell["bits"]) / sum(cell["bytes"])


def table(given: argparse.Namespace) -> None:
    lines = (given.out / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    cells = [cell for cell in map(json.loads, lines) if "error" not in cell]
    by: dict[tuple[float, str], dict[tuple[str, int], dict[str, Any]]] = defaultdict(dict)
    for cell in cells:
        by[cell["minutes"], cell["arm"]][cell["corpus"], cell["seed"]] = cell
    first = cells[0]["arm"]
    for minutes in sorted({minutes for minutes, _ in by}):
        base = by.get((minutes, first), {})
        print(
            f"\n{minutes:g} minutes of one thread        bits per byte   from {first} [95 %]              SST-2    from {first}"
        )
        rows = [(name, found) for (at, name), found in by.items() if at == minutes]
        for name, found in sorted(rows, key=lambda row: np.mean([_bits(cell) for cell in row[1].values()])):
            both = [(found[key], base[key]) for key in found if key in base]
            bits, score = (np.mean([of(cell) for cell in found.values()]) for of in (_bits, lambda cell: cell["sst2"]))
            low, middle, high = interval(both)
            apart = "cannot be told apart" if low <= 0 <= high else "better" if high < 0 else "worse"
            gain = np.mean([one["sst2"] - two["sst2"] for one, two in both] or [np.nan])
            print(
                f"{name:24} {len(found):3} cells {bits:10.4f}   {middle:+.4f} [{low:+.4f}, {high:+.4f}] {apart:22} {score:.3f}   {gain:+.3f}"
            )
    for whole in sorted({minutes for minutes, name in by if name == first}):
        goal = np.mean([_bits(cell) for cell in by[whole, first].values()])
        for (minutes, name), found in sorted(by.items()):
            if minutes <= whole / 3 + 1e-9 and np.mean([_bits(cell) for cell in found.values()]) <= goal:
                print(f"{name} has after {minutes:g} minutes what {first} has after {whole:g} ({goal:.4f})")


def interval(both: list[tuple[dict[str, Any], dict[str, Any]]], draws: int = 2000) -> tuple[float, float, float]:
    """(low, middle, high) of the difference in bits per byte, over the same sentences and over cells: both are drawn again."""
    if not both:
        return (float("nan"),) * 3
    bits = np.array([np.subtract(one["bits"], two["bits"]) for one, two in both])
    sizes = np.array([two["bytes"] for _, two in both])
    generator, found = np.random.default_rng(0), []
    for _ in range(draws):
        rows = generator.integers(0, len(both), len(both))
        texts = generator.integers(0, bits.shape[1], bits.shape[1])
        found.append(bits[np.ix_(rows, texts)].sum() / sizes[np.ix_(rows, texts)].sum())
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(bits.sum() / sizes.sum()), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[])
    parser.add_argument("--arm", action="append", default=[], metavar="NAME='RECIPE FIELD=VALUE …'")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=[*CORPORA])
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=200, help="that are scored, drawn when a corpus is prepared")
    parser.add_argument("--rows", type=int, default=1000, help="of SST-2 that are learned from")
    given = parser.parse_args()
    {"run": run, "table": table}[given.what](given)


if __name__ == "__main__":
    main()
