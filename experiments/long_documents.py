"""Do questions over long documents gain by what reads them at once?  COVID-QA in windows of 512 and of 2,048 tokens, one model.

python experiments/long_documents.py CORPORA MODEL --out results [--rows 300] [--words 1200] [--lengths 512 2048] [--seeds 0 1] [--squad 1000]

The same command again goes on where it was stopped.  MODEL (a folder of Hugging Face format, such as MiniLM) learns to answer on `--squad`
questions of SQuAD, is converted to a Longformer of the greatest length (windows of 256 to either side), and goes on with `--rows` questions of
COVID-QA, of articles that are neither in the dev file nor in the test file; each has a stretch of `--words` words of its article, in which the
answer stands somewhere, for whole ones take hours.  Both arms are the same weights and read the same words: one in windows that overlap by a
quarter, the other in one.  Reported are F1 and exact answers on test questions, with 95 % intervals over questions (paired) and seeds.
"""

import argparse
import json
import lzma
import time
from pathlib import Path

import numpy as np
from glue import RESAMPLES
from tag_qa import questions

import bertsmith
from bertsmith.downstream.predict import judged
from bertsmith.tasks import squad
from bertsmith.tasks.answer_scores import scoring

SHARES = {"dev": 0.15, "test": 0.3}  # of the articles; the rest is learned


def stretches(data: Path, out: Path, rows: int, words: int) -> dict[str, Path]:
    """Train, dev and test files of SQuAD's format, a question a paragraph."""
    tree = json.load(lzma.open(data / "covid_qa" / "covid_qa_clean.json.xz", "rt", encoding="utf-8"))["data"]
    draw = np.random.default_rng(0)
    order, parts, start = draw.permutation(len(tree)).tolist(), {}, 0
    for part, share in SHARES.items():
        parts[part], start = order[start : start + round(share * len(tree))], start + round(share * len(tree))
    parts["train"] = order[start:]
    files = {}
    for part, articles in parts.items():
        every = [(p["context"], asked) for i in articles for p in tree[i]["paragraphs"] for asked in p["qas"]]
        chosen = np.sort(draw.permutation(len(every))[: rows if part == "train" else {"dev": 60, "test": 200}[part]])
        paragraphs = [cut(*every[i], words, draw) for i in chosen]
        files[part] = out / f"covid-{part}-{len(paragraphs)}-{words}.json"
        files[part].write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return files


def cut(context: str, asked: dict, words: int, draw: np.random.Generator) -> dict:
    """So many words of a text around its answer, from a drawn beginning."""
    answer = asked["answers"][0]
    starts = [i for i in range(len(context)) if not context[i].isspace() and (i == 0 or context[i - 1].isspace())]
    begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    first = int(np.searchsorted(starts, begin, side="right")) - 1
    last = int(np.searchsorted(starts, end, side="left"))  # the first word behind it
    low, high = max(0, last - words), min(first, max(0, len(starts) - words))
    at = int(draw.integers(low, high + 1)) if low <= high else first
    stop = starts[at + words] if at + words < len(starts) else len(context)
    moved = {"text": answer["text"], "answer_start": begin - starts[at]}
    text = context[starts[at] : max(stop, end)]
    assert text[moved["answer_start"] :].startswith(answer["text"])
    return {"context": text, "qas": [{"id": str(asked["id"]), "question": asked["question"], "answers": [moved]}]}


def answered(run: Path, test: Path) -> np.ndarray:
    """(questions, 2): F1 and whether it is exact."""
    loaded = bertsmith.load(run)
    _, logits, kind = judged(loaded, test)
    said = [answer["label"] for answer in kind.answer(kind.read(test), logits, loaded.labels)]
    golds = [[answer.text for answer in answers] for answers in squad.read(test).answers]
    scorer = scoring(golds)
    return np.array([[scorer.overlap(a, g), scorer.exact(a, g)] for a, g in zip(said, golds, strict=True)], float)


def between(numbers: list[np.ndarray]) -> list[float]:
    """Mean over seeds and questions, and 95 % over both."""
    draw, every = np.random.default_rng(0), np.stack(numbers)
    drawn = [
        every[draw.integers(len(every), size=len(every))][:, draw.integers(every.shape[1], size=every.shape[1])].mean()
        for _ in range(RESAMPLES)
    ]
    return [round(float(each), 3) for each in (every.mean(), *np.percentile(drawn, [2.5, 97.5]))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--squad", type=int, default=1000)
    arguments.add_argument("--rows", type=int, default=300)
    arguments.add_argument("--words", type=int, default=1200)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[512, 2048])
    arguments.add_argument("--epochs", type=int, default=2)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    common = {"task": "qa", "threads": given.threads, "resume": True}
    reader, long = given.out / "reader", given.out / "long"
    if not long.exists():
        files = questions(given.data, given.out, given.squad, none=False)
        options = ["epochs=3", "lr=2e-4", "batch=16", "length=224", "precision=auto"]
        bertsmith.finetune(
            given.model, train=files["train"], dev=files["dev"], out=reader, seed=0, set=options, **common
        )
        bertsmith.convert(reader, long, length=max(given.lengths), say=print)
    files = stretches(given.data, given.out, given.rows, given.words)
    found: dict[int, list[np.ndarray]] = {}
    for seed in given.seeds:
        for length in given.lengths:
            run, began = given.out / f"length-{length}" / f"seed-{seed}", time.process_time()
            tokens = 4096  # an update, in either arm
            options = [f"length={length}", f"stride={length // 4}", f"epochs={given.epochs}", "lr=1e-4"]
            options += [f"batch={tokens // length}", "precision=auto"]
            if not (run / "result.json").exists():
                bertsmith.finetune(
                    long, train=files["train"], dev=files["dev"], out=run, seed=seed, set=options, **common
                )
            found.setdefault(length, []).append(answered(run, files["test"]))
            print(
                json.dumps({"length": length, "seed": seed, "cpu seconds": round(time.process_time() - began)}),
                flush=True,
            )
    print(json.dumps({"before": between([answered(long, files["test"])[:, 0]])}), flush=True)
    least = given.lengths[0]
    for length, numbers in found.items():
        line = {
            "length": length,
            "f1": between([n[:, 0] for n in numbers]),
            "exact": between([n[:, 1] for n in numbers]),
        }
        if length != least:
            line["f1 more"] = between([a[:, 0] - b[:, 0] for a, b in zip(numbers, found[least], strict=True)])
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
