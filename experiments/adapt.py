"""What going on with a model on another text buys: MiniLM on biomedical papers, newswire and novels, a Chinese BERT on an encyclopedia.

    python experiments/adapt.py CORPORA --model MINILM --out results [--steps 48] [--arms covid words reuters novels chinese]

The same command again goes on where it was stopped.  MINILM is the folder of a sentence-transformers BERT (all-MiniLM-L6-v2): it has no
masked head, so that one is taught first.  The old text is English encyclopedia, a tenth of what is read.

covid    CovidQA's papers; the task: does this sentence answer this question, beside another sentence of the same paper
words    the same with 300 new words
reuters  newswire; the task: its topic, of six, as often each
novels   the irrelevant domain: English novels, judged by the topics of newswire, and where it must say that it did not help
chinese  a BERT of characters that was trained here on novels goes on with an encyclopedia, whole words masked, its novels kept

A line of JSON for each arm: bits per byte before and after with their differences, forgetting, the task, what it says.
"""

import argparse
import json
import lzma
import random
import re
from itertools import pairwise
from pathlib import Path

import bertsmith

ARMS = ("covid", "words", "reuters", "novels", "chinese")
TOPICS = ("earn", "acq", "crude", "trade", "money-fx", "interest")
ROWS, DEV = 168, 252
QUICK = ["layout.length=64", "training.batch=1024", "training.checkpoint=100000"]


def opened(data: Path, name: str) -> str:
    return lzma.open(sorted((data / name).glob("*.xz"))[0], "rt", encoding="utf-8").read()


def written(path: Path, documents: list[str]) -> Path:
    path.write_text("\n\n".join(re.sub(r"\n\s*\n", "\n", text.strip()) for text in documents) + "\n", encoding="utf-8")
    return path


def covid(data: Path, out: Path) -> dict:
    """Papers, and pairs of a question and a sentence: that of the answer, or another one of the paper."""
    draw, rows, papers = random.Random(0), [], []
    for article in json.loads(opened(data, "covid_qa"))["data"]:
        for part in article["paragraphs"]:
            text = part["context"]
            ends = [0, *(m.end() for m in re.finditer(r"[.?!]\s+", text)), len(text)]
            spans = [(a, b) for a, b in pairwise(ends) if 40 < b - a < 400]
            for asked in part["qas"]:
                at = asked["answers"][0]["answer_start"]
                own = [span for span in spans if span[0] <= at < span[1]]
                others = [span for span in spans if span not in own]
                pairs = [("yes", span) for span in own] + [("no", draw.choice(others)) for _ in own]
                rows += [
                    [
                        {"text": asked["question"], "text2": " ".join(text[a:b].split()), "label": label}
                        for label, (a, b) in pairs
                    ]
                ]
            papers.append(text)
    draw.shuffle(rows)  # those of a question stay together
    return {"corpus": written(out / "covid.txt", papers), **task(out, "covid", [row for of in rows for row in of])}


def reuters(data: Path, out: Path) -> dict:
    stories = [json.loads(line) for line in opened(data, "reuters21578").splitlines()]
    stories = [{**story, "body": " ".join((story.get("body") or "").split())} for story in stories]
    one = [story for story in stories if len(story.get("topics") or ()) == 1 and story["body"]]
    labelled = [story for story in one if story["topics"][0] in TOPICS]
    random.Random(0).shuffle(labelled)
    by_topic = [[story for story in labelled if story["topics"][0] == topic] for topic in TOPICS]
    labelled = [story for stories in zip(*by_topic, strict=False) for story in stories][: ROWS + DEV]
    rows = [{"text": s["body"][:240], "label": s["topics"][0]} for s in labelled]
    asked = {s["id"] for s in labelled}
    texts = [s["body"] for s in stories if s["id"] not in asked and len(s["body"]) > 400]
    return {"corpus": written(out / "reuters.txt", texts[:2500]), **task(out, "reuters", rows)}


def task(out: Path, name: str, rows: list[dict]) -> dict:
    files = {"train": rows[:ROWS], "dev": rows[ROWS : ROWS + DEV]}
    for part, some in files.items():
        path = out / f"{name}-{part}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return {"task": "classify", **{part: out / f"{name}-{part}.jsonl" for part in files}}


def novels(data: Path, out: Path) -> dict:
    books = sorted((data / "en_novels").glob("*.xz"))[:8]
    texts = [lzma.open(book, "rt", encoding="utf-8", errors="replace").read(250_000) for book in books]
    chapters = [part for text in texts for part in re.split(r"\n\s*\n", text)]
    groups = ["\n".join(" ".join(p.split()) for p in chapters[i : i + 12]) for i in range(0, len(chapters), 12)]
    return {**reuters(data, out), "corpus": written(out / "novels.txt", groups)}


def english(data: Path, out: Path) -> Path:
    """The old domain: two million characters of encyclopedia."""
    text = opened(data, "en_wiki")[:2_000_000]
    return written(out / "wiki.txt", text.split("\n\n")[:-1])


def chinese(data: Path, out: Path, threads: int) -> dict:
    """A BERT of characters, of classic novels; and the text that it goes on with."""
    books = sorted((data / "zh_classic_novels").glob("*.xz"))
    old = [lzma.open(book, "rt", encoding="utf-8", errors="replace").read(300_000) for book in books]
    keep = written(out / "zh-novels.txt", [part for text in old for part in re.split(r"\n\s*\n", text) if part.strip()])
    new = written(out / "zh-wiki.txt", opened(data, "zh_wiki")[:700_000].split("\n\n")[:-1])
    if not (out / "zh-store").exists():
        how = {"tokenizer": "wordpiece:6000", "language": "zh", "allow_unknown": True}
        bertsmith.prepare([keep, new], out / "zh-store", say=print, **how)  # its vocabulary has the characters of both
        bertsmith.prepare([keep], out / "zh-old", tokenizer=str(out / "zh-store"), language="zh", say=print)
    run = out / "zh-bert"
    bertsmith.pretrain(
        "bert:tiny", out / "zh-old", run, steps=300, threads=threads, resume=run.exists(), set=QUICK, say=print
    )
    how = {"model": run, "corpus": new, "keep": keep, "language": "zh", "objective": "bert-wwm", "steps": 200}
    return {**how, "set": ["layout.length=64", "training.batch=1024", "schedule.lr=5e-4"]}


def asked(arm: str, given: argparse.Namespace) -> dict:
    if arm == "chinese":
        return chinese(given.data, given.out, given.threads)
    made = {"covid": covid, "words": covid, "reuters": reuters, "novels": novels}[arm](given.data, given.out)
    more = {"new_words": 300} if arm == "words" else {}
    settings = {"epochs": 4, "seeds": given.seeds, "task_set": ["length=48", "lr=1e-4", "batch=8"]}
    how = {"model": given.model, "keep": english(given.data, given.out), "steps": given.steps, **settings, **more}
    return {**made, **how, "set": ["training.held_out=4096"]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    arguments.add_argument(
        "--steps", type=int, default=48, help="updates of 2,048 tokens, those of the head among them"
    )
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--passages", type=int, default=16)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for arm in given.arms:
        out = given.out / arm
        how = {"passages": given.passages, "threads": given.threads, "resume": out.exists(), "say": print}
        found = bertsmith.adapt(**asked(arm, given), out=out, **how)
        names = (
            "objective",
            "fresh",
            "new_words",
            "similarity",
            "stages",
            "bits_per_byte",
            "forgetting",
            "helped",
            "says",
        )
        line = {"arm": arm, **{name: found[name] for name in names if name in found}}
        if found["task"]:
            best = found["task"]["chosen_by"]
            line["task"] = {best: {side: found["task"][side][best] for side in ("before", "after", "difference")}}
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
