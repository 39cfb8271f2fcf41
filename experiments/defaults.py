"""Which defaults learn?  Ten tasks fine-tuned, and three corpora pre-trained, under several ways to choose length, batch and rate.

python experiments/defaults.py files --data CORPORA --out results               # the tasks as .jsonl and .conll, the corpora as text
python experiments/defaults.py finetune --out results --model tiny=RUN --model minilm=FOLDER --way epochs=3 --way updates=500 [--seeds 3]
python experiments/defaults.py pretrain --out results --cell roberta:tiny,batch=1024,length=64,lr=2e-3,tokens=2800000 …
python experiments/defaults.py table --out results                             # what is there so far

Cells are shared out over `--jobs` processes of one thread each and written to results/*.jsonl as they end; the same command again goes on, and
`--minutes` ends it before its time.  A task's dev rows choose the epoch, its test rows are scored.
"""

import argparse
import csv
import json
import lzma
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CORPORA = {"english": "en_wiki", "novels": "en_novels", "korean": "ko_wiki"}
# Rows of train, dev and test: as many as people have, from a hundred to a few thousand.
SIZES = {
    "bbc": (100, 100, 1000),
    "reviews": (200, 100, 1000),
    "news": (400, 200, 1000),
    "subjective": (500, 200, 1000),
    "sst2": (1000, 200, 1000),
    "newsgroups": (1000, 200, 1000),
    "cola": (4000, 400, 1000),
    "mrpc": (1000, 200, 1000),
    "stsb": (1000, 200, 1000),
    "conll2003": (600, 200, 1000),
}
LONGEST = 400  # characters of a text: about 100 tokens
KINDS = {"stsb": "regress", "conll2003": "tag"}
SCORES = {"classify": "accuracy", "regress": "spearman", "tag": "f1"}


def opened(path: Path) -> Any:
    return lzma.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".xz" else path.open(encoding="utf-8")


def lines(data: Path, name: str) -> list[str]:
    with opened(data / name) as file:
        return file.read().split("\n")


def labelled(data: Path, name: str) -> Iterator[dict[str, str]]:
    """Lines that begin with their label."""
    for line in filter(None, lines(data, name)):
        label, text = line.split(" ", 1)
        yield {"text": text.strip(), "label": label}


def table(
    data: Path, name: str, text: int, label: int, text2: int | None = None, head: bool = False
) -> Iterator[dict[str, str]]:
    rows = csv.reader(lines(data, name), delimiter="\t", quoting=csv.QUOTE_MINIMAL if head else csv.QUOTE_NONE)
    for row in list(rows)[head:]:
        if len(row) > max(text, label, text2 or 0):
            second = {} if text2 is None else {"text2": row[text2]}
            yield {"text": row[text], **second, "label": row[label]}


def begun(sentence: str) -> str:
    """IOB1 as IOB2: every span begins with B-."""
    rows, before, made = [row.split() for row in sentence.split("\n")], "O", []
    for word, *_, tag in rows:
        new = tag != "O" and (before == "O" or before[2:] != tag[2:] or tag[0] == "B")
        made.append(f"{word}\t{'B' + tag[1:] if new else tag}")
        before = tag
    return "\n".join(made)


def json_rows(data: Path, name: str) -> Iterator[dict[str, str]]:
    for line in filter(None, lines(data, name)):
        row = json.loads(line)
        yield {"text": row["text"][:LONGEST], "label": row["label"]}


# (one file that is parted) or (train and dev, test)
TASKS: dict[str, tuple[Callable[[Path], Iterator[dict[str, str]]], ...]] = {
    "bbc": (lambda d: json_rows(d, "bbc_news/bbc.jsonl.xz"),),
    "reviews": (lambda d: labelled(d, "sentence_cls/custrev.all.xz"),),
    "news": (
        lambda d: table(d, "ag_news/validation.tsv.xz", 1, 2, head=True),
        lambda d: table(d, "ag_news/test.tsv.xz", 1, 2, head=True),
    ),
    "subjective": (lambda d: labelled(d, "sentence_cls/subj.all.xz"),),
    "sst2": (lambda d: table(d, "sst2/train.tsv.xz", 0, 1), lambda d: table(d, "sst2/test.tsv.xz", 0, 1)),
    "newsgroups": (
        lambda d: json_rows(d, "20newsgroups_bydate/train.jsonl.xz"),
        lambda d: json_rows(d, "20newsgroups_bydate/test.jsonl.xz"),
    ),
    "cola": (lambda d: table(d, "cola/train.tsv.xz", 3, 1), lambda d: table(d, "cola/dev.tsv", 3, 1)),
    "mrpc": (
        lambda d: table(d, "mrpc/train.tsv.xz", 2, 1, 3, head=True),
        lambda d: table(d, "mrpc/test.tsv.xz", 2, 1, 3, head=True),
    ),
    "stsb": (lambda d: table(d, "stsb/sts-train.csv.xz", 5, 4, 6), lambda d: table(d, "stsb/sts-test.csv.xz", 5, 4, 6)),
}


def files(given: argparse.Namespace) -> None:
    """Each task's rows, drawn once; each corpus as one text of 30 MB at most."""
    made = given.out / "tasks"
    made.mkdir(parents=True, exist_ok=True)
    for task, read in TASKS.items():
        rows = [[row for row in one(given.data) if row["text"].strip()] for one in read]
        rows = [[part[i] for i in np.random.default_rng(0).permutation(len(part))] for part in rows]
        train, dev, test = SIZES[task]
        if KINDS.get(task) == "regress":
            rows = [[{**row, "label": float(row["label"])} for row in part] for part in rows]
        parts = {"train": rows[0][:train], "dev": rows[0][train : train + dev]}
        parts["test"] = rows[1][:test] if len(rows) > 1 else rows[0][train + dev : train + dev + test]
        for part, chosen in parts.items():
            (made / f"{task}-{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in chosen), encoding="utf-8")
    for part, name, most in zip(("train", "dev", "test"), ("train", "testa", "testb"), SIZES["conll2003"], strict=True):
        text = "\n".join(lines(given.data, f"conll2003/eng.{name}.xz"))
        sentences = [s for s in text.split("\n\n") if s.strip() and not s.startswith("-DOCSTART-")]
        chosen = [sentences[i].strip("\n") for i in np.random.default_rng(0).permutation(len(sentences))[:most]]
        (made / f"conll2003-{part}.conll").write_text("\n\n".join(map(begun, chosen)) + "\n", encoding="utf-8")
    for name, folder in CORPORA.items():
        texts = (opened(path).read() for path in sorted((given.data / folder).glob("*.txt.xz")))
        (given.out / f"{name}.txt").write_text("\n\n".join(texts)[: given.characters], encoding="utf-8")


# -- cells: each a dictionary that says what is asked, run in a process of its own --------------------------------------------------


def tuned(out: Path, model: str, task: str, way: str, fresh: bool, seed: int, device: str) -> dict[str, Any]:
    """Test score of a fine-tuning.  `way`: "updates=500,most=50" is as many epochs as make so many, 3 to 50; all else is --set."""
    import bertsmith

    kind, run = KINDS.get(task, "classify"), out / "runs" / f"{os.getpid()}"
    paths = {part: next((out / "tasks").glob(f"{task}-{part}.*")) for part in ("train", "dev", "test")}
    settings = dict(pair.split("=") for pair in way.split(",") if way != "default")
    if "updates" in settings:
        each = -(-SIZES[task][0] // int(settings.get("batch", 32)))
        wanted, most = int(settings.pop("updates")), int(settings.pop("most", 1000))
        settings["epochs"] = str(max(3, min(most, -(-wanted // each))))
    shutil.rmtree(run, ignore_errors=True)
    begun, options = time.monotonic(), {"scratch": fresh, "seed": seed, "device": device, "threads": 1}
    options |= {"set": ["length=128", *map("=".join, settings.items())], "allow_unknown": True}
    found = bertsmith.finetune(model, task=kind, train=paths["train"], dev=paths["dev"], out=run, **options)
    scores = bertsmith.evaluate(bertsmith.load(run, device), input=paths["test"])
    shutil.rmtree(run, ignore_errors=True)
    shown = {name: [round(score[of], 4) for of in ("value", "low", "high")] for name, score in scores.items()}
    return {"test": shown, "epochs": len(found["epochs"]), "best": found["best"], "seconds": time.monotonic() - begun}


def learned(
    out: Path, corpus: str, recipe: str, tokens: int, seed: int, device: str, **settings: str
) -> dict[str, Any]:
    """Held-out token loss of a pre-training, and its curve; `settings`: batch, length, lr."""
    import bertsmith

    run, names = (
        out / "runs" / f"{os.getpid()}",
        {"batch": "training.batch", "length": "layout.length", "lr": "schedule.lr"},
    )
    shutil.rmtree(run, ignore_errors=True)
    chosen = [f"{names.get(name, name)}={value}" for name, value in settings.items()] + ["training.held_out=16384"]
    chosen += [f"training.evaluate={max(1, tokens // int(settings['batch']) // 20)}", "training.checkpoint=1000000"]
    begun = time.monotonic()
    options = {"tokens": tokens, "seed": seed, "device": device, "threads": 1, "set": chosen}
    made = bertsmith.pretrain(recipe, out / corpus, run, **options)
    curve = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    curve = [[line["step"], round(line["evaluation"]["token"]["loss"], 4)] for line in curve if "evaluation" in line]
    shutil.rmtree(run, ignore_errors=True)
    plateau = made["unigram_entropy"]
    return {
        "below": round(plateau - curve[-1][1], 4),
        "plateau": plateau,
        "steps": made["steps"],
        "curve": curve,
        "seconds": time.monotonic() - begun,
    }


def carried(work: tuple[Callable[..., dict], Path, dict[str, Any], str]) -> dict[str, Any]:
    import torch

    do, out, cell, device = work
    torch.set_num_threads(1)
    try:
        return {**cell, **do(out, **cell, device=device)}
    except Exception as error:  # one cell that fails is said, and ends nothing else
        return {**cell, "error": f"{type(error).__name__}: {error}"}


def carry_out(do: Callable[..., dict], cells: list[dict[str, Any]], results: Path, given: argparse.Namespace) -> None:
    """Cells that are not in `results` yet, in their order."""
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    left = [c for c in cells if not any(all(d.get(k) == v for k, v in c.items()) for d in done if "error" not in d)]
    end = time.monotonic() + 60 * given.minutes
    print(f"{len(cells)} cells, {len(left)} to do", flush=True)
    works = ((do, given.out, cell, given.device) for cell in left)
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool, results.open("a") as file:
        waited = pool.imap_unordered(carried, works)
        try:
            while True:
                found = waited.next(timeout=max(0.1, end - time.monotonic()))
                file.write(json.dumps(found) + "\n")
                file.flush()
                print({k: v for k, v in found.items() if k != "curve"}, flush=True)
        except StopIteration:
            pass
        except multiprocessing.TimeoutError:
            pool.terminate()
            print("out of time", flush=True)


def finetune(given: argparse.Namespace) -> None:
    models = dict(pair.split("=", 1) for pair in given.model)
    tasks = given.tasks or SIZES
    cells = [
        {"model": str(Path(path).resolve()), "task": task, "way": way, "fresh": fresh, "seed": seed}
        for seed in range(given.seeds)
        for way in given.way
        for fresh in (False, True)
        for path in models.values()
        for task in tasks
    ]
    carry_out(tuned, cells, given.out / "finetune.jsonl", given)


def pretrain(given: argparse.Namespace) -> None:
    cells = []
    for seed in range(given.seeds):
        for name in given.cell:
            recipe, *settings = name.split(",")
            chosen: dict[str, Any] = dict(pair.split("=") for pair in settings)
            corpora = [chosen.pop("corpus")] if "corpus" in chosen else list(CORPORA)
            chosen["tokens"] = int(chosen["tokens"])
            cells += [{"corpus": corpus, "recipe": recipe, "seed": seed, **chosen} for corpus in corpora]
    carry_out(learned, cells, given.out / "pretrain.jsonl", given)


def stores(given: argparse.Namespace) -> None:
    import bertsmith

    for name in CORPORA:
        if not (given.out / name).exists():
            bertsmith.prepare(
                [str(given.out / f"{name}.txt")], str(given.out / name), tokenizer="bpe:8000", holdout=0.03
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["files", "stores", "finetune", "pretrain"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=30_000_000)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--way", action="append", default=[])
    parser.add_argument("--cell", action="append", default=[])
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=1e6)
    given = parser.parse_args()
    {"files": files, "stores": stores, "finetune": finetune, "pretrain": pretrain}[given.what](given)


if __name__ == "__main__":
    main()
