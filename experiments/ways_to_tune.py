"""What a way to tune costs and gives: score against trained parameters, for each task and way; and the cures of small tasks beside them.

python experiments/ways_to_tune.py CORPORA MODEL --out results [--tasks sst2 …] [--ways full adapter-64 …] [--rows 600] [--seeds 3] [--epochs 8]

Tasks are those of seven_tasks.py.  Every way has its default rate unless --lr or --lr-small names one; ways with a still
trunk learn for 20 epochs, which cost next to nothing.  The epoch is chosen on dev rows; a line of JSON for each task and way has the test
score of each seed, their mean, the difference to `full` with its 95 % interval over texts (paired) and seeds, and what learns.
The same command again goes on where it was stopped.  --picture writes the lines of a finished run as SVG, and needs matplotlib.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from glue import RESAMPLES
from minilm import LENGTHS, of_texts, score
from seven_tasks import Parts, tasks

import bertsmith
from bertsmith.downstream.predict import judged

LAYERS = 6  # of MODEL


def top(count: int) -> list[str]:
    still = ["model.embeddings", *(f"model.layers.{i}" for i in range(LAYERS - count))]
    return [f"frozen={json.dumps(still)}"]


WAYS = {
    "full": ("full", []),
    **{f"adapter-{size}": ("adapter", [f"adapter.size={size}"]) for size in (8, 64, 256)},
    "pfeiffer-64": ("adapter", ["adapter.size=64", "adapter.form=pfeiffer"]),
    **{f"lora-{rank}": ("lora", [f"lora.rank={rank}", f"lora.alpha={2 * rank}"]) for rank in (4, 16)},
    "bias": ("bias", []),
    **{f"top-{count}": ("full", top(count)) for count in (1, 2, 4)},
    "frozen": ("frozen", []),
    "layers": ("frozen", ["layers=[-4, -3, -2, -1]"]),
    "mix": ("mix", []),
    "decay": ("full", ["layer_decay=0.8"]),
    "unfreeze": ("full", ["unfreeze=0.1"]),
}
STILL = ("frozen", "mix")
SMALL = ("adapter", "pfeiffer", "lora", "bias")
RATED = ("full", "top", "decay", "unfreeze")  # ways whose rate --lr is


def tuned(model: Path, parts: Parts, way: str, out: Path, seed: int, given: argparse.Namespace) -> dict:
    """{test: (texts, k), trained: …}"""
    method, options = WAYS[way]
    options = [*options, f"length={LENGTHS[parts.kind]}"]
    if method not in STILL:
        options += [f"epochs={given.epochs}", f"evaluations={given.evaluations}", "precision=auto"]
    if given.lr and way.split("-")[0] in RATED:
        options.append(f"lr={given.lr}")
    if given.lr_small and way.split("-")[0] in SMALL:
        options.append(f"lr={given.lr_small}")
    run, kept = out / f"{way}-{seed}", out / f"{way}-{seed}.npy"
    if not kept.exists():
        files = {"task": parts.kind, "train": parts.train, "dev": parts.dev}
        bertsmith.finetune(
            model, **files, out=run, method=method, seed=seed, threads=given.threads, set=options, resume=True
        )
        loaded = bertsmith.load(run)
        _, logits, kind = judged(loaded, parts.test)
        answers = kind.answer(kind.read(parts.test), logits, loaded.labels)
        np.save(kept, of_texts(parts, [answer["label"] for answer in answers]))
    result = json.loads((run / "result.json").read_bytes())
    return {"test": np.load(kept), "trained": result["trained"], "dev": result["dev"][result["chosen_by"]]["value"]}


def apart(kind: str, mine: list[np.ndarray], theirs: list[np.ndarray]) -> list[float]:
    """Mean difference, and its 95 % interval over texts, the same for both, and seeds."""
    draw, n = np.random.default_rng(0), len(mine[0])
    mean = lambda sides, which: np.mean([score(kind, numbers[which]) for numbers in sides])
    drawn = []
    for _ in range(RESAMPLES):
        texts = draw.integers(n, size=n)
        seeds = [draw.integers(len(side), size=len(side)) for side in (mine, theirs)]
        drawn.append(mean([mine[i] for i in seeds[0]], texts) - mean([theirs[i] for i in seeds[1]], texts))
    whole = np.arange(n)
    return [round(float(v), 4) for v in (mean(mine, whole) - mean(theirs, whole), *np.percentile(drawn, [2.5, 97.5]))]


def picture(lines: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_task: dict[str, list[dict]] = {}
    for line in lines:
        by_task.setdefault(line["task"], []).append(line)
    figure, axes = pyplot.subplots(1, len(by_task), figsize=(6 * len(by_task), 4.2), squeeze=False)
    for axis, (task, found) in zip(axes[0], by_task.items(), strict=True):
        families: dict[str, list[dict]] = {}
        for line in found:
            families.setdefault(line["way"].split("-")[0], []).append(line)
        for family, of in families.items():
            of.sort(key=lambda line: line["parameters"])
            x, y = ([line[name] for line in of] for name in ("parameters", "mean"))
            spread = [
                [line["mean"] - min(line["seeds"]) for line in of],
                [max(line["seeds"]) - line["mean"] for line in of],
            ]
            axis.errorbar(x, y, yerr=spread, marker="o", capsize=3, label=family)
            for line in of:
                axis.annotate(
                    line["way"],
                    (line["parameters"], line["mean"]),
                    textcoords="offset points",
                    xytext=(5, -11),
                    fontsize=7,
                )
        axis.set(xscale="log", xlabel="parameters that learn", ylabel="test score, mean and range of seeds", title=task)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--tasks", nargs="+", default=["sst2"])
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments.add_argument("--rows", type=int, default=600)
    arguments.add_argument("--dev-rows", type=int, default=300)
    arguments.add_argument("--test-rows", type=int, default=1000)
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--evaluations", type=float, default=1.0)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--lr", type=float)
    arguments.add_argument("--lr-small", type=float, help="of adapters and their like")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--picture", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    files = tasks(given.data, given.out / "tasks", given.rows, given.dev_rows, given.test_rows, only=tuple(given.tasks))
    lines = []
    for task, parts in files.items():
        full: list[np.ndarray] = []
        for way in given.ways:
            runs = [tuned(given.model, parts, way, given.out / task, seed, given) for seed in range(given.seeds)]
            tests = [run["test"] for run in runs]
            full = tests if way == "full" else full
            seeds = [round(score(parts.kind, numbers), 4) for numbers in tests]
            line = {"task": task, "way": way, "seeds": seeds, "mean": round(float(np.mean(seeds)), 4)}
            if full and way != "full":
                line["less full, low, high"] = apart(parts.kind, tests, full)
            lines.append(line | runs[0]["trained"])
            print(json.dumps(lines[-1]), flush=True)
    if given.picture:
        picture(lines, given.picture)


if __name__ == "__main__":
    main()
