"""T5's table of objectives in small (Raffel et al. 2020, section 3.3): which noise is worth pre-training on, at equal operations?

    python experiments/text_to_text.py CORPORA --out results [--objectives "BERT-style" …] [--tokens 1500000] [--seeds 0 1 2]

One encoder-decoder, `t5:tiny`, learns from English newswire by each objective; "replace spans" reads `--tokens`, the others as many as cost
the same operations (as torch counts them).  Then two tasks, each as text in and text out: AG News (a class in a word: accuracy) and headlines
of newswire whose bodies were in no pre-training (ROUGE-L).  "none" has fresh weights.  Means with 95 % intervals over seeds, differences by pairs of seeds.
"""

import argparse
import json
import lzma
from dataclasses import replace
from pathlib import Path

from defaults import TASKS

import bertsmith
from bertsmith.config import override
from bertsmith.data.denoise import Denoise
from bertsmith.data.noise import Independent, Nothing, RandomSpans, Tail
from bertsmith.data.reordered import Tokens
from bertsmith.recipe import Corruption, Recipe
from bertsmith.text.store import Store
from bertsmith.training.cost import estimate
from corpora import mean, paired

WHOLE, HIDDEN = {"write": "all", "start": "pad"}, {"write": "hidden", "start": "pad"}
MARKED = Denoise(stand="sentinel", sentinels=100, **HIDDEN)
OBJECTIVES = {
    "prefix LM": Corruption(select=Tail(), rewrite=Denoise(stand="nothing", **HIDDEN)),
    "BERT-style": Corruption(select=Independent(), rewrite=Denoise(stand="masks", random=0.1, **WHOLE)),
    "deshuffling": Corruption(select=Nothing(), rewrite=Denoise(stand="nothing", **WHOLE), order=Tokens()),
    "MASS-style": Corruption(select=Independent(), rewrite=Denoise(stand="masks", **WHOLE)),
    "replace spans": Corruption(select=Independent(), rewrite=MARKED),
    "drop tokens": Corruption(select=Independent(), rewrite=Denoise(stand="nothing", **HIDDEN)),
    "spans of 3": Corruption(select=RandomSpans(), rewrite=MARKED),
}
CLASSES = ("world", "sports", "business", "science")
SHAPE = [
    "layout.length=64",
    "training.batch=2048",
    "training.evaluate=0",
    "training.checkpoint=1000000",
    "schedule.lr=0.01",
]
TUNE = ["batch=32", "length=64", "dropout=0.1", "lr=1e-3", "evaluations=1", "precision=auto"]


def articles(data: Path, out: Path, apart: int = 2500) -> None:
    """Bodies of newswire as a corpus; of the last `apart` articles, which are not in it, the first 60 words and the headline."""
    with lzma.open(next((data / "reuters21578").glob("*.jsonl.xz")), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pairs = [(" ".join((row.get("body") or "").split()), " ".join((row.get("title") or "").split())) for row in rows]
    pairs = [pair for pair in pairs if len(pair[0].split()) > 40 and pair[1]]
    (out / "bodies.txt").write_text("\n\n".join(body for body, _ in pairs[:-apart]) + "\n", encoding="utf-8")
    named = {"train": pairs[-apart:-700], "dev": pairs[-700:-500], "test": pairs[-500:]}
    for name, some in named.items():
        lines = (json.dumps({"text": " ".join(b.split()[:60]).lower(), "label": t.lower()}) + "\n" for b, t in some)
        (out / f"headlines-{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def news(data: Path, out: Path) -> None:
    """AG News with its classes as words: 3,500 rows to learn from, 300 to look at, 700 of the other half to test on."""
    parts = [
        [{**row, "text": row["text"].lower(), "label": CLASSES[int(row["label"])]} for row in read(data)]
        for read in TASKS["news"]
    ]
    named = {"train": parts[0][300:], "dev": parts[0][:300], "test": parts[1][:700]}
    for name, rows in named.items():
        (out / f"news-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe_of(objective: str, size: str) -> Recipe:
    recipe = bertsmith.find(f"t5:{size}")
    return override(replace(recipe, corruption=OBJECTIVES.get(objective, recipe.corruption)), SHAPE)


def scored(
    run: Path,
    name: str,
    rows: dict[str, Path],
    out: Path,
    steps: int,
    given: argparse.Namespace,
    seed: int,
    fresh: bool,
) -> float:
    tuned = out / f"{run.name}-{name}{'-none' * fresh}"
    options = {"metric": "rouge"} if name == "headlines" else {}
    if not (tuned / "result.json").exists():
        bertsmith.finetune(
            run, task="text2text", train=rows["train"], dev=rows["dev"], out=tuned, steps=steps, seed=seed,
            scratch=fresh, set=TUNE, threads=given.threads, resume=tuned.exists(), **options,
        )  # fmt: skip
    found = bertsmith.evaluate(tuned, rows["test"])
    return found["rougeL" if name == "headlines" else "accuracy"]["value"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--objectives", nargs="+", default=[*OBJECTIVES, "none"])
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--tokens", type=int, default=1_500_000, help='that "replace spans" reads')
    arguments.add_argument("--steps", type=int, default=400, help="of fine-tuning")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    articles(given.data, given.out)
    news(given.data, given.out)
    folder = given.out / "store"
    if not folder.exists():
        bertsmith.prepare(
            [str(given.out / "bodies.txt")], folder, tokenizer="unigram:4000", lowercase=True, holdout=0.02, say=print
        )
    tasks = {
        task: {part: given.out / f"{task}-{part}.jsonl" for part in ("train", "dev", "test")}
        for task in ("news", "headlines")
    }
    store, cost = Store.open(folder), {}
    for name in given.objectives:
        cost[name] = estimate(recipe_of(name, given.size), store, threads=given.threads).run(1)["flops"]
    base = estimate(recipe_of("replace spans", given.size), store, threads=given.threads).run(1)["flops"]
    found: dict[tuple[str, str], list[float]] = {}
    for seed in given.seeds:
        for name in given.objectives:
            run = given.out / f"{name.replace(' ', '-')}-{seed}"
            tokens = round(given.tokens * base / cost[name])
            if name == "none":
                run, tokens = given.out / f"{given.objectives[0].replace(' ', '-')}-{seed}", 0
            else:
                end = bertsmith.pretrain(
                    recipe_of(name, given.size),
                    folder,
                    run,
                    tokens=tokens,
                    seed=seed,
                    threads=given.threads,
                    resume=run.exists(),
                )
                tokens = end["tokens"]
            line = {"objective": name, "seed": seed, "tokens": tokens}
            for task, rows in tasks.items():
                score = scored(run, task, rows, given.out, given.steps, given, seed, name == "none")
                found.setdefault((name, task), []).append(score)
                line[task] = round(score, 4)
            print(json.dumps(line), flush=True)
    for task in tasks:
        for name in given.objectives:
            values, against = found[name, task], found.get(("replace spans", task))
            rest = f"; less replace spans: {paired(values, against)}" if against and name != "replace spans" else ""
            print(f"{task}, {name}: {mean(values)}{rest}", flush=True)


if __name__ == "__main__":
    main()
