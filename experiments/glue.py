"""Does pre-training help?  BERT and RoBERTa (mini) for some minutes on English text, then SST-2, MRPC and STS-B against scratch.

python experiments/glue.py CORPORA --out results [--minutes 10] [--seeds 3] [--members bert roberta] [--threads 2]

The dev sets choose the epoch and, for each arm alone, the learning rate (seed 0); what is reported is of the labelled test sets: the
mean of the seeds and its difference, with 95 % intervals over the texts.
"""

import argparse
import json
import lzma
import shutil
from pathlib import Path

import numpy as np

import bertsmith
from bertsmith.config import override
from bertsmith.downstream.predict import judged
from bertsmith.tasks import metrics

TASKS = {"sst2": "classify", "mrpc": "classify", "stsb": "regress"}
PARTS = ("train", "dev", "test")
# Small batches leave the plateau of the unigram entropy soonest.
SETTINGS = ["layout.length=64", "training.batch=1024", "schedule.lr=1e-3"]
SETTINGS += ["training.checkpoint=2000", "training.evaluate=1000"]
TUNING = ["epochs=4", "pool=mean"]
RATES = ("3e-4", "1e-3")
RESAMPLES = 2000


def corpus(data: Path, folder: Path) -> list[str]:
    """Encyclopedia articles as they are, a paragraph a line; of the novels, hard-wrapped at 75 columns, each paragraph joined to a line."""
    novels = folder / "novels"
    novels.mkdir(parents=True, exist_ok=True)
    for path in sorted((data / "en_novels").glob("*.xz")):
        paragraphs = lzma.open(path, "rt", encoding="utf-8").read().split("\n\n")
        lines = (" ".join(p.split()) for p in paragraphs)
        (novels / path.stem).write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return [str(data / "en_wiki"), str(data / "en_wiki_articles_long"), str(novels)]


def tables(data: Path, folder: Path, most: int | None = None) -> dict[str, tuple[Path, ...]]:
    """Train (its first `most` rows in a fixed random order), dev and test of each task as .jsonl with the fields text, text2, label."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for task, read in {"sst2": _sst2, "mrpc": _mrpc, "stsb": _stsb}.items():
        made[task] = tuple(folder / f"{task}-{part}.jsonl" for part in PARTS)
        for part, path in zip(PARTS, made[task], strict=True):
            rows = list(read(data, part))
            if part == "train":
                rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:most]]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return made


def _lines(folder: Path, *names: str) -> list[str]:
    for name in names:
        for path in sorted(folder.rglob(name + "*")):
            opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
            with opened as file:
                return file.read().split("\n")
    raise FileNotFoundError(f"{folder}: none of {names}")


def _sst2(data: Path, part: str):
    for line in _lines(data / "sst2", part):
        if line.strip():
            text, label = line.rsplit("\t", 1)
            yield {"text": text, "label": label.strip()}


def _mrpc(data: Path, part: str):
    import csv

    rows = csv.DictReader(_lines(data / "mrpc", part, "validation" if part == "dev" else part), delimiter="\t")
    for row in rows:
        values = list(row.values())
        yield {"text": values[2], "text2": values[3], "label": values[1]}


def _stsb(data: Path, part: str):
    for line in _lines(data / "stsb", f"sts-{part}"):
        cells = line.split("\t")
        if len(cells) >= 7:
            yield {"text": cells[5], "text2": cells[6], "label": float(cells[4])}


def chosen(run: Path, name: Path, seeds: int, options: dict) -> tuple[list[Path], str]:
    """Fine-tuned with every seed at the rate that is best on dev for seed 0: where, and the rate.  What is there is not done again."""

    def tune(rate: str, seed: int) -> tuple[float, Path]:
        out = name.with_name(f"{name.name}-{rate}-{seed}")
        if not (out / "result.json").exists():
            shutil.rmtree(out, ignore_errors=True)
            bertsmith.finetune(run, out=out, set=[*TUNING, f"lr={rate}"], seed=seed, **options)
        end = json.loads((out / "result.json").read_bytes())
        return end["dev"][end["chosen_by"]]["value"], out

    found = {rate: tune(rate, 0)[0] for rate in RATES}
    print(name.name, found, flush=True)
    best = max(found, key=lambda rate: found[rate])
    return [tune(best, seed)[1] for seed in range(seeds)], best


def compare(tuned: list[Path], scratch: list[Path], test: Path, kind: str) -> dict:
    """Accuracy or Pearson's r on `test`: each seed's, and the difference of the means, resampled over the texts."""
    read = {"classify": _correct, "regress": _numbers}[kind]
    ours, theirs = ([read(folder, test) for folder in folders] for folders in (tuned, scratch))
    n = len(ours[0][0])
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    scores = {
        name: [_score(each, kind) for each in seeds] for name, seeds in (("pretrained", ours), ("scratch", theirs))
    }
    apart = [
        np.mean([_score([x[draw] for x in each], kind) for each in ours])
        - np.mean([_score([x[draw] for x in each], kind) for each in theirs])
        for draw in draws
    ]
    low, high = np.percentile(apart, [2.5, 97.5])
    value = float(np.mean(scores["pretrained"]) - np.mean(scores["scratch"]))
    return {
        **{name: metrics.spread(values) for name, values in scores.items()},
        "difference": {"value": value, "low": float(low), "high": float(high)},
    }


def _correct(folder: Path, test: Path) -> list[np.ndarray]:
    targets, logits, _ = judged(folder, test)
    return [logits.argmax(-1) == targets]


def _numbers(folder: Path, test: Path) -> list[np.ndarray]:
    targets, logits, _ = judged(folder, test)
    return [np.asarray(targets, float), logits[:, 0].astype(float)]


def _score(each: list[np.ndarray], kind: str) -> float:
    return float(np.mean(each[0]) if kind == "classify" else np.corrcoef(*each)[0, 1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--tokens", type=int, help="to read, instead of minutes")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--members", nargs="+", default=["bert", "roberta"])
    arguments.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--rows", type=int, default=3000, help="of each training set")
    arguments.add_argument("--only-pretrain", action="store_true")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = tables(given.data, given.out / "tasks", given.rows)
    for member in given.members:
        recipe = override(bertsmith.find(f"{member}:mini"), SETTINGS)
        kind = "wordpiece:8000" if member == "bert" else "bpe:8000"
        store, run = given.out / f"store-{member}", given.out / member
        if not store.exists():
            bertsmith.prepare(
                corpus(given.data, given.out),
                str(store),
                tokenizer=kind,
                lowercase=member == "bert",
                tokenizer_sample="20MB",
                say=print,
            )
        budget = {"tokens": given.tokens} if given.tokens else {"minutes": given.minutes}
        end = bertsmith.pretrain(recipe, store, run, **budget, resume=True, threads=given.threads, say=print)
        print(json.dumps(end), flush=True)
        for task in [] if given.only_pretrain else given.tasks:
            task_kind, (train, dev, test) = TASKS[task], files[task]
            arms, rates = [], {}
            for arm in ("pretrained", "scratch"):
                options = {
                    "task": task_kind,
                    "train": train,
                    "dev": dev,
                    "scratch": arm == "scratch",
                    "threads": given.threads,
                }
                best, rates[arm] = chosen(run, given.out / f"{member}-{task}-{arm}", given.seeds, options)
                arms.append(best)
            found = {"member": member, "task": task, "lr": rates, **compare(*arms, test, task_kind)}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
