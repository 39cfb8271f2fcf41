"""Does pre-training help?  BERT and RoBERTa (mini) for some minutes on English text, then SST-2, MRPC and STS-B against scratch.

python experiments/glue.py CORPORA --out results [--minutes 10] [--seeds 3] [--members bert roberta]
"""

import argparse
import json
import lzma
from pathlib import Path

import bertsmith
from bertsmith.config import override

TASKS = {  # task: kind, the metric to read, columns
    "sst2": ("classify", "accuracy", None),
    "mrpc": ("classify", "accuracy", None),
    "stsb": ("regress", "pearson", None),
}
SETTINGS = [
    "training.batch=4096",
    "training.checkpoint=2000",
    "training.evaluate=2000",
]  # small batches leave the plateau soonest


def corpus(data: Path, folder: Path) -> list[str]:
    """Encyclopedia articles as they are, a paragraph a line; of the novels, hard-wrapped at 75 columns, each paragraph joined to a line."""
    novels = folder / "novels"
    novels.mkdir(parents=True, exist_ok=True)
    for path in sorted((data / "en_novels").glob("*.xz")):
        paragraphs = lzma.open(path, "rt", encoding="utf-8").read().split("\n\n")
        lines = (" ".join(p.split()) for p in paragraphs)
        (novels / path.stem).write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return [str(data / "en_wiki"), str(data / "en_wiki_articles_long"), str(novels)]


def tables(data: Path, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Train and dev of each task as tsv with the columns text, text2, label."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for task, read in {"sst2": _sst2, "mrpc": _mrpc, "stsb": _stsb}.items():
        made[task] = tuple(folder / f"{task}-{part}.jsonl" for part in ("train", "dev"))
        for part, path in zip(("train", "dev"), made[task], strict=True):
            path.write_text("".join(json.dumps(row) + "\n" for row in read(data, part)), encoding="utf-8")
    return made


def _lines(folder: Path, *names: str) -> list[str]:
    for name in names:
        for path in sorted(folder.rglob(name + "*")):
            opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
            with opened as file:
                return file.read().split("\n")
    raise FileNotFoundError(f"{folder}: none of {names}")


def _sst2(data: Path, part: str):
    for line in _lines(data / "sst2", part):
        if line.strip():
            text, label = line.rsplit("\t", 1)
            yield {"text": text, "label": label.strip()}


def _mrpc(data: Path, part: str):
    import csv

    rows = csv.DictReader(_lines(data / "mrpc", part, "validation" if part == "dev" else part), delimiter="\t")
    for row in rows:
        values = list(row.values())
        yield {"text": values[2], "text2": values[3], "label": values[1]}


def _stsb(data: Path, part: str):
    for line in _lines(data / "stsb", f"sts-{part}"):
        cells = line.split("\t")
        if len(cells) >= 7:
            yield {"text": cells[5], "text2": cells[6], "label": float(cells[4])}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--members", nargs="+", default=["bert", "roberta"])
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files = tables(given.data, given.out / "tasks")
    for member in given.members:
        recipe = override(bertsmith.find(f"{member}:mini"), SETTINGS)
        kind = "wordpiece:8000" if member == "bert" else "bpe:8000"
        store, run = given.out / f"store-{member}", given.out / member
        if not store.exists():
            bertsmith.prepare(
                corpus(given.data, given.out),
                str(store),
                tokenizer=kind,
                lowercase=member == "bert",
                tokenizer_sample="20MB",
                say=print,
            )
        if not run.exists():
            print(json.dumps(bertsmith.pretrain(recipe, store, run, minutes=given.minutes, say=print)), flush=True)
        for task, (task_kind, metric, columns) in TASKS.items():
            train, dev = map(str, files[task])
            for scratch in (False, True):
                out = given.out / f"{member}-{task}-{'scratch' if scratch else 'pretrained'}"
                found = bertsmith.finetune(
                    run,
                    task=task_kind,
                    train=train,
                    dev=dev,
                    out=out,
                    columns=columns,
                    scratch=scratch,
                    seeds=given.seeds,
                )
                print(
                    json.dumps({"member": member, "task": task, "metric": metric, "scratch": scratch, **found}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
