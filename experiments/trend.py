"""From word2vec to BERT: one task, every member pre-trained on one store for the same tokens, or the same minutes.

    python experiments/trend.py CORPORA --out results [--members word2vec elmo bert …] [--by tokens minutes] [--tokens 1000000] [--minutes 0.5] [--seeds 0 1 2] [--size tiny]

The store is encyclopedia text, and for CoVe Multi30k's English and German lines with the same tokenizer.  Each member is then read by a head on its frozen states (`--method frozen`) or
tuned whole (`--method full`) on SST-2: `--rows` of the training file, the dev file chooses nothing, scores are of the test file.  `fresh` is BERT with random weights.  A line of JSON
for each (member, seed, budget), in results.jsonl, which a later call goes on from; trend.html has a picture of each budget, members by year, seeds as points, their mean and its 95 % interval (t).

Ten members, three seeds and one budget are about 25 minutes of one thread.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
from glue import tables
from scipy import stats

import bertsmith
from bertsmith.config import override
from bertsmith.downstream.charts import Scored, intervals
from bertsmith.recipe import members
from corpora import QUICK, encyclopedia, mean

YEARS = {
    "word2vec": 2013, "glove": 2014, "skip-thought": 2015, "fasttext": 2016, "cove": 2017, "ulmfit": 2018,
    "elmo": 2018, "quick-thought": 2018, "gpt": 2018, "bert": 2018, "roberta": 2019, "electra": 2020,
}  # fmt: skip
STYLE = """:root { color-scheme: light dark; --ink: #22252a; --soft: #666b73; --rule: #d8d4cb; --c0: #2563a8; --c1: #c2571a; --c2: #2c8a57; --c3: #8a4fae; --c4: #a8862a; --c5: #b03060; }
body { max-width: 560px; margin: 0 auto; padding: 24px; color: var(--ink); font: 16px/1.6 system-ui, sans-serif; } text { fill: var(--soft); font: 11px system-ui, sans-serif; } .name { fill: var(--ink); }
.grid { stroke: var(--rule); } .whisker { stroke-width: 2; } """ + " ".join(
    f".c{i} {{ fill: var(--c{i}); stroke: var(--c{i}); }}" for i in range(6)
)


def store_of(data: Path, out: Path) -> Path:
    """Text, and parallel lines beside it."""
    if not (out / "trend").exists():
        encyclopedia(data, out)  # its text
        sides = [
            gzip.open(data / "multi30k" / f"train.{side}.gz", "rt", encoding="utf-8").read().rstrip("\n").split("\n")
            for side in ("en", "de")
        ]
        pairs = [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(*sides, strict=True)]
        (out / "lines.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
        named = [f"en={out / 'encyclopedia.txt'}", f"en+de={out / 'lines.tsv'}"]
        options = {"tokenizer": "wordpiece:6000", "lowercase": True, "holdout": 0.03}
        bertsmith.prepare(named, str(out / "trend"), say=print, **options)
    return out / "trend"


def scored(name: str, seed: int, by: str, store: Path, rows: dict, given: argparse.Namespace) -> dict:
    """A line of the results."""
    limit = {"steps": 1} if name == "fresh" else {by: getattr(given, by)}
    run = given.out / f"{name}-{given.size}-{by}-{next(iter(limit.values()))}-{seed}"
    recipe = override(bertsmith.find(f"{'bert' if name == 'fresh' else name}:{given.size}"), list(QUICK[2:]))
    work = {"seed": seed, "threads": given.threads}
    end = bertsmith.pretrain(recipe, store, run, **limit, **work, resume=run.exists())
    tuned = run.with_name(f"{run.name}-{given.method}-{given.rows}")
    options = {"task": "classify", "method": given.method, "epochs": given.epochs, "allow_unknown": True}
    rate = [] if given.lr is None else [f"lr={given.lr}"]
    fresh = (
        name == "fresh" and given.method != "frozen"
    )  # a still trunk is what one update of the warm-up left: as it was drawn
    options |= {"set": ["pool=mean", "length=64", *rate], "scratch": fresh}
    bertsmith.finetune(run, out=tuned, train=rows["train"], dev=rows["dev"], **options, **work, resume=tuned.exists())
    score = bertsmith.evaluate(tuned, rows["test"])["accuracy"]
    cell = of_cell(name, seed, by, given)
    return {**cell, "tokens": end["tokens"], "seconds": round(end["seconds"]), **score}


def of_cell(name: str, seed: int, by: str, given: argparse.Namespace) -> dict:
    """What tells a line from all others."""
    way = {"budget": getattr(given, by), "size": given.size, "method": given.method, "rows": given.rows}
    return {"member": name, "seed": seed, "by": by, **way}


def drawn(lines: list[dict], by: str) -> str:
    """The picture of one budget, members by year."""
    found = []
    for number, name in enumerate(dict.fromkeys(line["member"] for line in lines if line["by"] == by)):
        values = [line["value"] for line in lines if line["by"] == by and line["member"] == name]
        half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) if len(values) > 1 else 0.0
        at = float(np.mean(values))
        year = f" {YEARS[name]}" if name in YEARS else ""
        score = {"value": at, "low": at - half, "high": at + half}
        found.append((YEARS.get(name, 0), Scored(name=f"{name}{year}", colour=number, score=score, seeds=values)))
    return intervals([row for _, row in sorted(found, key=lambda pair: pair[0])])


def page(lines: list[dict]) -> str:
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>trend</title><style>{STYLE}</style></head><body>"
    ]
    for by in dict.fromkeys(line["by"] for line in lines):
        parts.append(f"<h2>SST-2 after equal {by}</h2>{drawn(lines, by)}")
    return "".join([*parts, "</body></html>\n"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--members", nargs="+")
    arguments.add_argument("--by", nargs="+", choices=("tokens", "minutes"), default=["tokens"])
    arguments.add_argument("--tokens", type=int, default=1_000_000)
    arguments.add_argument("--minutes", type=float, default=0.5)
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--method", default="frozen")
    arguments.add_argument("--rows", type=int, default=2000)
    arguments.add_argument("--epochs", type=float, default=3)
    arguments.add_argument("--lr", type=float, help="else what the method and the member ask for")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store, kept = store_of(given.data, given.out), given.out / "results.jsonl"
    train, dev, test = tables(given.data, given.out / "tables", given.rows)["sst2"]
    rows = {"train": train, "dev": dev, "test": test}
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    names, lines = given.members or [*(name for name in YEARS if name in members()), "fresh"], []
    for by in given.by:
        for name in names:
            for seed in given.seeds:
                cell = of_cell(name, seed, by, given)
                found = next((line for line in done if cell.items() <= line.items()), None)
                if found is None:
                    found = scored(name, seed, by, store, rows, given)
                    with kept.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                lines.append(found)
                (given.out / "trend.html").write_text(page(lines), encoding="utf-8")
            values = [line["value"] for line in lines if line["member"] == name and line["by"] == by]
            print(f"{name}, equal {by}: accuracy {mean(values)}", flush=True)


if __name__ == "__main__":
    main()
