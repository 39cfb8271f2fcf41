"""Vectors of texts: no labels (SimCSE, TSDAE), then pairs; judged on STS-B and on questions of SQuAD among the paragraphs of other articles.

python experiments/sentence_vectors.py CORPORA MODEL --out results [--seeds 1] [--rows 2000] [--pairs 800] [--lr 5e-5]

Without labels a model reads STS-B's training sentences and the paragraphs of SQuAD's training articles.  Then it learns STS-B's pairs with
numbers, or questions with their paragraphs (negatives of the update).  Articles are parted: two for the dev rows, three for the test.
A line of JSON for each of: as it is, after each loss without labels, after pairs alone, after both.  Spearman's correlation on STS-B's
1,379 test pairs; nDCG@10, MRR@10 and recall@10 of the test questions.  The same command again goes on where it was stopped.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from glue import _stsb
from scipy.stats import spearmanr

import bertsmith

DEV, TEST = 2, 3  # articles


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def stsb(data: Path, out: Path, rows: int) -> dict[str, Path]:
    read = {part: [*_stsb(data, part)] for part in ("train", "dev", "test")}
    read["train"] = [read["train"][i] for i in np.random.default_rng(0).permutation(len(read["train"]))[:rows]]
    read["dev"] = read["dev"][:400]
    return {part: written(out / f"stsb-{part}.jsonl", found) for part, found in read.items()}


def searching(data: Path, out: Path, pairs: int) -> tuple[dict[str, Path], list[str]]:
    """Pairs to learn from, dev pairs, and a corpus, queries and judgements to be tested by; the training articles' paragraphs."""
    tree = json.load(lzma.open(data / "squad2_cs224n" / "squad2_dev.json.xz", "rt", encoding="utf-8"))
    order = np.random.default_rng(0).permutation(len(tree["data"])).tolist()
    parts = {"dev": order[:DEV], "test": order[DEV : DEV + TEST], "train": order[DEV + TEST :]}
    found = {
        part: [
            (paragraph["context"], asked)
            for i in articles
            for paragraph in tree["data"][i]["paragraphs"]
            for asked in paragraph["qas"]
            if asked["answers"]
        ]
        for part, articles in parts.items()
    }
    files = {}
    for part, most in (("train", pairs), ("dev", 200)):
        chosen = np.random.default_rng(1).permutation(len(found[part]))[:most]
        rows = [{"text": found[part][i][1]["question"], "text2": found[part][i][0]} for i in chosen]
        files[part] = written(out / f"questions-{part}.jsonl", rows)
    texts = {text: f"p{number}" for number, text in enumerate(dict.fromkeys(text for text, _ in found["test"]))}
    files["corpus"] = written(out / "corpus.jsonl", [{"_id": name, "text": text} for text, name in texts.items()])
    asked = [{"_id": asked["id"], "text": asked["question"]} for _, asked in found["test"]]
    files["queries"] = written(out / "queries.jsonl", asked)
    lines = [f"{asked['id']}\t{texts[text]}\t1\n" for text, asked in found["test"]]
    files["relevant"] = out / "relevant.tsv"
    files["relevant"].write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return files, [*dict.fromkeys(text for text, _ in found["train"])]


def as_it_is(model: Path, test: Path) -> float:
    """Spearman's correlation with the cosines of a model that was not tuned."""
    rows = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()]
    one, two = (bertsmith.embed(model, [row[name] for row in rows]) for name in ("text", "text2"))
    cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    return float(spearmanr(cosines, [row["label"] for row in rows]).statistic)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rows", type=int, default=2000, help="of STS-B, and texts without labels")
    arguments.add_argument("--pairs", type=int, default=800)
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--lr", type=float, default=5e-5, help="of pairs")
    arguments.add_argument("--lr-without", type=float, default=3e-5, help="of texts without labels")
    arguments.add_argument("--epochs", type=int, default=1)
    arguments.add_argument("--losses", nargs="+", default=["simcse", "tsdae"])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    pairs = stsb(given.data, given.out, given.rows)
    found, paragraphs = searching(given.data, given.out, given.pairs)
    sentences = [json.loads(line)["text"] for line in pairs["train"].read_text(encoding="utf-8").splitlines()]
    texts = written(given.out / "texts.jsonl", [{"text": text} for text in [*sentences, *paragraphs][: 2 * given.rows]])

    def tuned(model: Path, name: str, seed: int, **options) -> Path:
        run = given.out / f"{name}-{seed}"
        if not (run / "result.json").exists():
            bertsmith.finetune(model, out=run, seed=seed, threads=given.threads, resume=True, **options)
        return run

    def told(arm: str, task: str, models: list[Path]) -> None:
        scores: dict[str, list[float]] = {}
        for model in models:
            if task == "stsb" and arm == "as it is":
                measured = {"spearman": {name: as_it_is(model, pairs["test"]) for name in ("value", "low", "high")}}
            elif task == "stsb":
                measured = bertsmith.evaluate(model, pairs["test"])
            else:
                measured = bertsmith.evaluate(
                    model, **{name: found[name] for name in ("corpus", "queries", "relevant")}
                )
            for name in ("spearman", "ndcg@10", "mrr@10", "recall@10"):
                if name in measured:
                    value = measured[name]
                    scores.setdefault(name, []).append([round(value[x], 4) for x in ("value", "low", "high")])
        print(json.dumps({"arm": arm, "task": task, **scores}), flush=True)

    shared = ["pool=mean", "precision=auto", "length=128"]
    without = [*shared, f"lr={given.lr_without}", "epochs=1", "batch=64"]
    learned = [*shared, f"lr={given.lr}", f"epochs={given.epochs}"]
    begun: dict[str, list[Path]] = {"": [given.model] * given.seeds}
    for loss in given.losses:
        options = [*without, f"loss={'negatives' if loss == 'simcse' else loss}"]
        files = {"task": "similarity", "train": texts, "dev": pairs["dev"], "set": options}
        begun[loss] = [tuned(given.model, loss, seed, **files) for seed in range(given.seeds)]
    for arm, models in begun.items():
        after = models if arm else models[:1]
        told(arm or "as it is", "stsb", after)
        told(arm or "as it is", "questions", after)
        files = {"task": "similarity", "train": pairs["train"], "dev": pairs["dev"], "set": learned}
        runs = [tuned(model, f"{arm}-pairs", seed, **files) for seed, model in enumerate(models)]
        told(f"{arm} + pairs", "stsb", runs)
        files = {"task": "retrieval", "train": found["train"], "dev": found["dev"], "set": [*learned, "batch=64"]}
        runs = [tuned(model, f"{arm}-questions", seed, **files) for seed, model in enumerate(models)]
        told(f"{arm} + pairs", "questions", runs)


if __name__ == "__main__":
    main()
