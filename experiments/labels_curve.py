"""ULMFiT's curve over labels: a language model, the same gone on with the task's texts, and fresh weights, with 100 to 5,000 labelled rows.

python experiments/labels_curve.py CORPORA --out results [--task imdb|sst2] [--domain imdb|sst2] [--labels 100 500 2000 5000] [--seeds 2] [--minutes 4 7] [--arms full general gradual scratch] [--both]

The same command again goes on where it was stopped.  Stage one reads encyclopedia articles (`--minutes` A), stage two texts of the task's kind
(`--domain`) without their labels (B more, at a third of the rate, each layer at 1 / 2.6 of the one above it), stage three learns the task: concat
pooling, slanted triangles, all layers at once.  Arms: `full` (all three stages), `general` (no second one), `gradual` (all three, the last with rates of
1 / 2.6 and layers unfrozen one after another, at four times the rate), `scratch` (the third with fresh weights).  `--both`: `ulmfit-backward` in the same way, and the mean of both
directions' probabilities.
Accuracy on test rows, mean over seeds, with the half of a 95 % interval over rows.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
from glue import _lines, _sst2

import bertsmith

SIZE = ["model.layers=3", "model.width=128", "model.hidden=256", "model.dropout=0.1"]
TASK = ["pool=concat", "decay=slanted", "dropout=0.1", "batch=32", "lr=1e-3"]
GRADUAL = [*TASK[:-1], "layer_decay=0.385", "unfreeze=0.08", "lr=4e-3"]
ARMS = ("full", "general", "gradual", "scratch")
PASSES = 10_000  # rows that a tuning reads, at least three times and at most twenty
DEV, TEST = 500, 1000


def rows(data: Path, task: str) -> list[list[dict]]:
    """Train and test, in an order of their own."""
    if task == "sst2":
        parts = [[*_sst2(data, part)] for part in ("train", "test")]
    else:
        parts = []
        for part in ("train", "test"):
            lines = lzma.open(data / "imdb" / f"{part}.jsonl.xz", "rt", encoding="utf-8")
            found = (json.loads(line) for line in lines)
            parts.append([{"text": row["text"].replace("<br />", " "), "label": row["label"]} for row in found])
    return [[part[i] for i in np.random.default_rng(0).permutation(len(part))] for part in parts]


def cut(data: Path, task: str, most: int, out: Path) -> dict[str, Path]:
    """Labelled files, and the texts of what is left of the training rows."""
    files = {name: out / f"{task}-{name}.jsonl" for name in ("train", "dev", "test")} | {"text": out / f"{task}.txt"}
    if not files["text"].exists():
        train, test = rows(data, task)
        parts = {"dev": train[:DEV], "train": train[DEV : DEV + most], "test": test[:TEST]}
        for name, part in parts.items():
            files[name].write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        texts = [" ".join(row["text"].split()) for row in train[DEV:]]
        files["text"].write_text("\n\n".join(texts), encoding="utf-8")
    return files


def pretrained(member: str, out: Path, stores: list[Path], given: argparse.Namespace) -> list[Path]:
    """Runs after stage one and after stage two."""
    general, own = out / f"{member}-general", out / f"{member}-full"
    options = {"threads": given.threads, "say": print}
    first, second = given.minutes
    sizes = [*SIZE, f"training.batch={given.batch}"]
    if not _whole(general):
        bertsmith.pretrain(
            f"{member}:tiny", stores[0], general, minutes=first, set=sizes, resume=general.exists(), **options
        )
    if not _whole(own):
        slow = [*sizes, "schedule.lr=7e-4", "schedule.layer_decay=0.385"]
        bertsmith.pretrain(
            f"{member}:tiny", stores[1], own, minutes=second, from_=general, set=slow, resume=own.exists(), **options
        )
    return [general, own]


def _whole(run: Path) -> bool:
    """Whether it has come to its end."""
    config, lines = run / "config.json", run / "metrics.jsonl"
    if not (config.exists() and lines.exists()):
        return False
    last = lines.read_text(encoding="utf-8").splitlines()[-1:]
    return bool(last) and json.loads(last[0])["step"] == json.loads(config.read_text())["steps"]


def tuned(model: Path, arm: str, count: int, seed: int, files: dict[str, Path], out: Path, given) -> Path:
    run = out / f"{arm}-{count}-{seed}"
    if not (run / "result.json").exists():
        some = out / f"train-{count}-{seed}.jsonl"
        lines = files["train"].read_text(encoding="utf-8").splitlines()
        chosen = np.random.default_rng(seed).permutation(len(lines))[:count]
        some.write_text("".join(lines[i] + "\n" for i in chosen), encoding="utf-8")
        fresh = arm.startswith("scratch")
        bertsmith.finetune(
            model,
            task="classify",
            train=some,
            dev=files["dev"],
            out=run,
            seed=seed,
            scratch=fresh,
            epochs=min(20, max(3, PASSES // count)),
            threads=given.threads,
            set=[*(GRADUAL if arm.startswith("gradual") else TASK), f"length={given.length}"],
            allow_unknown=True,
            resume=run.exists(),
        )
    return run


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--task", choices=("imdb", "sst2"), default="sst2")
    arguments.add_argument(
        "--domain", choices=("imdb", "sst2"), help="whose texts stage two reads; unless given the task's"
    )
    arguments.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments.add_argument("--labels", type=int, nargs="+", default=[100, 500, 2000, 5000])
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--minutes", type=float, nargs=2, default=(4.0, 7.0))
    arguments.add_argument("--length", type=int, default=64)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--characters", type=int, default=20_000_000)
    arguments.add_argument("--vocab", type=int, default=4000)
    arguments.add_argument("--batch", type=int, default=512, help="tokens an update: small, for minutes are few")
    arguments.add_argument("--both", action="store_true")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = cut(given.data, given.task, max(given.labels), given.out)
    domain = given.domain or given.task
    texts = files["text"] if domain == given.task else cut(given.data, domain, 1000, given.out)["text"]
    general = given.out / "store"
    if not general.exists():
        options = {"tokenizer": f"wordpiece:{given.vocab}", "lowercase": True, "holdout": 0.02, "say": print}
        articles = given.out / "articles.txt"
        articles.write_text("\n".join(_lines(given.data / "en_wiki", ""))[: given.characters], encoding="utf-8")
        bertsmith.prepare([str(articles), str(texts)], str(general), **options)
    own = given.out / f"store-{domain}"
    if not own.exists():
        bertsmith.prepare([str(texts)], str(own), tokenizer=str(general), holdout=0.02, say=print)
    found: dict[str, dict[str, Path]] = {}
    for member in ("ulmfit", "ulmfit-backward")[: 1 + given.both]:
        models = pretrained(member, given.out, [general, own], given)
        found[member] = dict(zip(ARMS, (models[1], models[0], models[1], models[1]), strict=True))
    for count in given.labels:
        line: dict = {"labels": count, "seeds": given.seeds}
        for arm in given.arms:
            scores = []
            for seed in range(given.seeds):
                runs = [
                    tuned(arms[arm], f"{arm}-{member}", count, seed, files, given.out, given)
                    for member, arms in found.items()
                ]
                each = [bertsmith.evaluate(run, files["test"])["accuracy"]["value"] for run in runs]
                if given.both:
                    each.append(bertsmith.evaluate(runs[0], files["test"], ensemble=runs[1:])["accuracy"]["value"])
                scores.append(each)
            means = np.mean(scores, axis=0)
            names = ["forward", "backward", "both"][: len(means)]
            line[arm] = {name: round(float(mean), 4) for name, mean in zip(names, means, strict=True)}
            line[arm]["±"] = round(1.96 * float(np.sqrt(means[0] * (1 - means[0]) / TEST)), 4)
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
