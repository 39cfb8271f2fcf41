"""Does reading both languages by themselves help to translate?  Multi30k, German to English (Elliott et al. 2016), in small.

    python experiments/translation.py CORPORA --out results [--members mass bart] [--pretrain 4000000] [--steps 6000] [--seeds 0 1 2]

One tokenizer and one store of the two sides of the training file, no line beside its translation.  A member is pre-trained on it, then
translates after `--steps` updates, and so does the same member with fresh weights: same tokenizer, steps, order of texts.  BLEU of test_2016_flickr
(sacrebleu, 13a, cased) with its interval, and the ten worst sentences (chrF) of each member's first seed.
"""

import argparse
import gzip
import json
import random
from pathlib import Path

import bertsmith
from bertsmith.config import override
from bertsmith.tasks import metrics, overlap
from corpora import mean, paired

SHAPE = ["layout.length=64", "training.batch=1024", "training.evaluate=0", "training.checkpoint=1000000"]
TUNE = ["length=64", "dropout=0.1", "smoothing=0.1", "evaluations=1", "precision=auto"]
SIDES = ("de", "en")


def sides(data: Path, name: str) -> list[tuple[str, str]]:
    both = [gzip.open(data / "multi30k" / f"{name}.{side}.gz", "rt", encoding="utf-8").read() for side in SIDES]
    return [(a.strip(), b.strip()) for a, b in zip(*(text.rstrip("\n").split("\n") for text in both), strict=True)]


def files(data: Path, out: Path) -> dict[str, Path]:
    """The pairs of each part as JSON lines, and both sides of the training part as one text in which no pair is together."""
    found = {part: out / f"{part}.jsonl" for part in ("train", "val", "test_2016_flickr")}
    for part, path in found.items():
        rows = [{"de": a, "en": b} for a, b in sides(data, part) if a and b]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    lines = [line for pair in sides(data, "train") for line in pair if line]
    random.Random(0).shuffle(lines)
    (out / "both.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return found


def translated(run: Path, rows: list[dict[str, str]]) -> tuple[metrics.Score, list[str]]:
    """BLEU with its interval, and the sentences."""
    said = [row["text"] for row in bertsmith.predict(run, rows)]
    true = [row["en"] for row in rows]
    return metrics.scored(overlap.bleu(said, true), len(rows))["bleu"], said


def worst(rows: list[dict[str, str]], said: list[str], count: int = 10) -> list[str]:
    import sacrebleu

    scores = [sacrebleu.sentence_chrf(text, [row["en"]]).score for row, text in zip(rows, said, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: scores[i])[:count]
    return [f"  {scores[i]:5.1f}  {rows[i]['de']} | {rows[i]['en']} | {said[i]}" for i in order]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--members", nargs="+", default=["mass", "bart"])
    arguments.add_argument("--size", default="tiny")
    arguments.add_argument("--vocab", type=int, default=8000)
    arguments.add_argument("--pretrain", type=int, default=4_000_000, help="tokens")
    arguments.add_argument("--steps", type=int, default=6000)
    arguments.add_argument("--batch", type=int, default=128, help="pairs of an update")
    arguments.add_argument("--beam", type=int, default=4)
    arguments.add_argument("--lr", type=float, default=1e-3)
    arguments.add_argument("--rows", type=int, help="of the training file, when the data are few")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--device")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = files(given.data, given.out)
    store = given.out / "store"
    if not store.exists():
        options = {"tokenizer": f"unigram:{given.vocab}", "holdout": 0.02, "lines": "sentence"}
        bertsmith.prepare([str(given.out / "both.txt")], store, say=print, **options)
    train = [json.loads(line) for line in parts["train"].open(encoding="utf-8")][: given.rows]
    test = [json.loads(line) for line in parts["test_2016_flickr"].open(encoding="utf-8")]
    found: dict[str, list[float]] = {}
    for member in given.members:
        for seed in given.seeds:
            name = f"{member}-{given.size}-{seed}"
            recipe = override(bertsmith.find(f"{member}:{given.size}"), SHAPE)
            work = {"seed": seed, "threads": given.threads, "device": given.device, "resume": True}
            bertsmith.pretrain(recipe, store, given.out / name, tokens=given.pretrain, **work)
            for start in ("fresh", "pre-trained"):
                run = given.out / f"{name}-{start}-{given.steps}"
                task = {"task": "text2text", "template": "{de}", "target": "{en}", "metric": "bleu", "set": [*TUNE, *(f"{name}={getattr(given, name)}" for name in ("lr", "batch", "beam"))]}  # fmt: skip
                rows = {"train": train, "dev": parts["val"], "out": run, "steps": given.steps}
                bertsmith.finetune(given.out / name, scratch=start == "fresh", **task, **rows, **work)
                bleu, said = translated(run, test)
                found.setdefault(f"{member} {start}", []).append(bleu["value"])
                print(f"{member} {start}, seed {seed}: BLEU {metrics.said(bleu)}", flush=True)
                if seed == given.seeds[0]:
                    print("\n".join(worst(test, said)), flush=True)
    for name, values in found.items():
        fresh = found[f"{name.split()[0]} fresh"]
        print(f"{name}: BLEU {mean(values)}; less fresh: {paired(values, fresh)}", flush=True)


if __name__ == "__main__":
    main()
