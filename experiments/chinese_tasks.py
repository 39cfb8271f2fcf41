"""Chinese: reviews (ChnSentiCorp), names (CLUENER) and answers (CMRC 2018), of a member trained here and of the same from fresh weights.

python experiments/chinese_tasks.py CORPORA --out results [--member bert-wwm:tiny] [--tokens 4000000] [--seeds 3]

Pre-training reads encyclopedia.  CMRC's public file is its dev file: texts are parted into train, dev and test.  CLUENER's dev file is the test,
and dev rows come from its training rows; its json is written as one character and tag a line.  The epoch is chosen on the dev rows; reported
are test scores of each seed and the mean difference, over texts (paired) and seeds, with its 95 % interval.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from glue import _lines
from minilm import of_texts, score
from seven_tasks import Parts, cut
from ways_to_tune import apart

import bertsmith
from bertsmith.downstream.predict import judged
from corpora import chinese, trained

TUNE = {
    "classify": ["length=128", "epochs=3"],
    "tag": ["length=128", "epochs=4"],
    "qa": ["length=256", "epochs=4", "batch=16"],
}
RATE = "lr=1e-3"


def reviews(data: Path, out: Path, rows: int) -> Parts:
    parts = []
    for part in ("train", "dev", "test"):
        lines = [line.split("\t", 1) for line in _lines(data / "chnsenticorp", part)[1:] if line.strip()]
        parts.append([{"text": text, "label": label} for label, text in lines])
    return Parts("classify", *_written(cut(parts, (rows, 400, 1200)), out, "reviews"))


def _written(parts: list[list[dict]], out: Path, name: str) -> list[Path]:
    paths = [out / f"{name}-{part}.jsonl" for part in ("train", "dev", "test")]
    for path, rows in zip(paths, parts, strict=True):
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return paths


def names(data: Path, out: Path, rows: int) -> Parts:
    read = [[json.loads(line) for line in _lines(data / "cluener2020", part) if line] for part in ("train", "dev")]
    paths = [out / f"names-{part}.conll" for part in ("train", "dev", "test")]
    for path, found in zip(paths, cut(read, (rows, 300, 1343)), strict=True):
        path.write_text("\n".join(_tagged(row) for row in found), encoding="utf-8")
    return Parts("tag", *paths)


def _tagged(row: dict) -> str:
    tags = ["O"] * len(row["text"])
    for kind, named in row["label"].items():
        for places in named.values():
            for begin, end in places:  # the end is the last character
                tags[begin : end + 1] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin)]
    pairs = zip(row["text"], tags, strict=True)
    return "".join(f"{character}\t{tag}\n" for character, tag in pairs if not character.isspace())


def answers(data: Path, out: Path, rows: int) -> Parts:
    """`rows`: texts, of four questions each."""
    tree = json.loads("\n".join(_lines(data / "cmrc2018", "cmrc2018_dev")))
    texts = [paragraph for article in tree["data"] for paragraph in article["paragraphs"]]
    order = np.random.default_rng(0).permutation(len(texts))
    paths = []
    for part, which in (("test", order[:200]), ("dev", order[200:260]), ("train", order[260:])):
        paths.insert(0, out / f"answers-{part}.json")
        chosen = [texts[i] for i in which][: rows if part == "train" else None]
        paths[0].write_text(json.dumps({"data": [{"paragraphs": chosen}]}), encoding="utf-8")
    train, dev, test = paths
    return Parts("qa", train, dev, test)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--member", default="bert-wwm:tiny")
    arguments.add_argument("--characters", type=int, default=1_000_000)
    arguments.add_argument("--tokens", type=int, default=4_000_000)
    arguments.add_argument("--rows", type=int, default=3000)
    arguments.add_argument("--texts", type=int, default=200, help="to learn answers from, of four questions each")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    store = chinese(given.data, given.out, given.characters)
    run = given.out / "member"
    recipe = bertsmith.find(given.member)
    end = trained(recipe, store, run, given.tokens, 0, ["schedule.lr=2e-3"], given.threads)
    print(json.dumps(end), flush=True)
    made = {"reviews": reviews, "names": names, "answers": answers}
    for task, make in made.items():
        parts = make(given.data, given.out, given.texts if task == "answers" else given.rows)
        sides: dict[bool, list[np.ndarray]] = {False: [], True: []}
        for scratch, tests in sides.items():
            for seed in range(given.seeds):
                tuned = given.out / f"{task}-{'fresh' if scratch else 'trained'}-{seed}"
                options = {"task": parts.kind, "train": parts.train, "dev": parts.dev, "scratch": scratch, "seed": seed}
                options |= {"on_bad_answer": "mend"} if parts.kind == "qa" else {}
                if not (tuned / "result.json").exists():
                    settings = [*TUNE[parts.kind], RATE, "precision=auto"]
                    bertsmith.finetune(run, out=tuned, set=settings, threads=given.threads, resume=True, **options)
                loaded = bertsmith.load(tuned)
                _, logits, kind = judged(loaded, parts.test)
                said = kind.answer(kind.read(parts.test), logits, loaded.labels)
                tests.append(of_texts(parts, [answer["label"] for answer in said]))
        scores = {
            ("fresh" if side else "trained"): [round(score(parts.kind, x), 4) for x in tests]
            for side, tests in sides.items()
        }
        found = {"task": task, **scores, "difference, low, high": apart(parts.kind, sides[False], sides[True])}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
