"""Vectors of sentences by what stands beside them: Skip-Thought, Quick-Thought, a bag of vectors that is learned so, and BERT's mean.

python experiments/sentence_encoders.py CORPORA --out results [--minutes 0.7] [--seeds 3] [--characters 8000000] [--rows 2000]

Tiny members (vectors of 128 numbers, Quick-Thought's of 2 x 128) read the same novels, one a document, for as many minutes each.  A line of
JSON for each arm and seed, and the mean over the seeds: Spearman's correlation of the cosines of STS-B's 1,379 test pairs, which
nothing was fitted to; Pearson's of a ridge regression over [|u - v|; u * v] (Kiros et al. 2015, section 3.2; its weight chosen on the dev rows)
on STS-B's and SICK's test pairs, the model as it is.  Intervals: 95 %, by resampling test pairs.  "bert, embeddings" is the mean of the
token vectors that BERT learned: the bag of vectors that a masked language model leaves.  The same command again goes on where it was stopped.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from glue import _lines, _stsb

import bertsmith
from bertsmith.config import override
from bertsmith.tasks import metrics

ARMS = {
    "skip-thought": ("skip-thought:tiny", {}),
    "quick-thought": ("quick-thought:tiny", {}),
    "bag": ("quick-thought:bag-tiny", {}),
    "bert, mean": ("bert:tiny", {"pool": "mean"}),
    "bert, embeddings": ("bert:tiny", {"pool": "mean", "layer": 0}),
}
WEIGHTS = 10.0 ** np.arange(-2, 5)  # of the ridge
Rows = tuple[list[str], list[str], np.ndarray]


def prepared(data: Path, out: Path, characters: int) -> Path:
    """So many characters of all novels together, as much of each."""
    if not (out / "store" / "manifest.json").exists():
        paths = sorted((data / "en_novels").glob("*.xz"))
        for path in paths:
            with lzma.open(path, "rt", encoding="utf-8") as file:
                (out / path.stem).write_text(file.read(characters // len(paths)), encoding="utf-8")
        files = [str(out / path.stem) for path in paths]
        options = {"documents": "file", "lines": "wrapped", "tokenizer": "wordpiece:8000", "lowercase": True}
        bertsmith.prepare(files, out / "store", holdout=0.02, force=True, say=print, **options)
    return out / "store"


def columns(rows: list[tuple[str, str, float]]) -> Rows:
    first, second, scores = zip(*rows, strict=True)
    return [*first], [*second], np.array(scores)


def stsb(data: Path, part: str) -> Rows:
    return columns([(row["text"], row["text2"], row["label"]) for row in _stsb(data, part)])


def sick(data: Path, part: str) -> Rows:
    names = {"train": "SICK_train", "dev": "SICK_trial", "test": "SICK_test_annotated"}
    cells = (line.rstrip("\n").split("\t") for line in [*_lines(data / "sick", names[part])][1:])
    return columns([(cell[1], cell[2], float(cell[3])) for cell in cells if len(cell) > 4])


def vectors(run: Path, rows: Rows, options: dict) -> tuple[np.ndarray, np.ndarray]:
    both = bertsmith.embed(run, rows[0] + rows[1], **options)
    return both[: len(rows[0])], both[len(rows[0]) :]


def features(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.abs(pair[0] - pair[1]), pair[0] * pair[1], np.ones((len(pair[0]), 1))], 1).astype(float)


def ridge(train: np.ndarray, truth: np.ndarray, weight: float) -> np.ndarray:
    return np.linalg.solve(train.T @ train + weight * np.eye(train.shape[1]), train.T @ truth)


def fitted(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """What is said of the test rows; `parts`: features and numbers."""
    (train, truth), (dev, wanted), (test, _) = (parts[name] for name in ("train", "dev", "test"))
    mean, spread = train[:, :-1].mean(0), train[:, :-1].std(0) + 1e-9
    scaled = lambda x: np.concatenate([(x[:, :-1] - mean) / spread, x[:, -1:]], 1)
    found = [ridge(scaled(train), truth, weight) for weight in WEIGHTS]
    best = max(found, key=lambda w: np.corrcoef(scaled(dev) @ w, wanted)[0, 1])
    return scaled(test) @ best


def measured(run: Path, options: dict, tasks: dict[str, dict[str, Rows]]) -> dict[str, metrics.Score]:
    scores = {}
    for task, parts in tasks.items():
        pairs = {part: vectors(run, rows, options) for part, rows in parts.items()}
        truth, (one, two) = parts["test"][2], pairs["test"]
        cosines = (one * two).sum(1) / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1), 1e-12)
        said = fitted({part: (features(pair), parts[part][2]) for part, pair in pairs.items()})
        scores[f"{task}.cosine"] = metrics.regression(truth, cosines)["spearman"]
        scores[f"{task}.fitted"] = metrics.regression(truth, said)["pearson"]
    return scores


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=0.7, help="of each run")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--characters", type=int, default=8_000_000)
    arguments.add_argument("--rows", type=int, default=2000, help="of each task, to fit the regression")
    arguments.add_argument("--test-rows", type=int, default=None)
    arguments.add_argument("--arms", nargs="+", default=[*ARMS])
    given = arguments.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    store, tasks = prepared(given.data, given.out, given.characters), {}
    most = {"train": given.rows, "dev": 500, "test": given.test_rows}
    for name, read in (("stsb", stsb), ("sick", sick)):
        parts = {part: read(given.data, part) for part in most}
        tasks[name] = {part: tuple(column[: most[part]] for column in rows) for part, rows in parts.items()}
    for arm in given.arms:
        recipe, options = ARMS[arm]
        values: dict[str, list[float]] = {}
        for seed in range(given.seeds):
            run = given.out / f"{recipe.replace(':', '-')}-{seed}"
            made = override(bertsmith.find(recipe), ["training.evaluate=0", "training.checkpoint=1000000"])
            told = bertsmith.pretrain(made, store, run, minutes=given.minutes, seed=seed, threads=1, resume=True)
            scores = measured(run, options, tasks)
            for name, score in scores.items():
                values.setdefault(name, []).append(score["value"])
            shown = {name: [round(score[x], 4) for x in ("value", "low", "high")] for name, score in scores.items()}
            print(json.dumps({"arm": arm, "seed": seed, "steps": told["steps"], **shown}), flush=True)
        mean = {name: {k: round(v, 4) for k, v in metrics.spread(each).items()} for name, each in values.items()}
        print(json.dumps({"arm": arm, "seeds": given.seeds, **mean}), flush=True)


if __name__ == "__main__":
    main()
