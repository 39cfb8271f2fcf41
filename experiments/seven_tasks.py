"""Seven small tasks, cut to size: SST-2, MRPC, STS-B, RTE, a part of QNLI, names (CoNLL-2003), answers (a part of SQuAD).

Each has three files.  Rows are drawn once for all seeds and sides.  RTE's labelled dev file is the test here, and QNLI's public dev file is
all three: their dev rows come from the training rows.  SQuAD's are the questions that have an answer, parted by article.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from glue import _lines, _mrpc, _sst2, _stsb
from tag_qa import names, questions


@dataclass(frozen=True)
class Parts:
    kind: str
    train: Path
    dev: Path
    test: Path


def tasks(
    data: Path, folder: Path, rows: int, dev: int = 300, test: int = 1000, only: tuple[str, ...] = ()
) -> dict[str, Parts]:
    """At most so many rows of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    read = {"rte": _rte, "mrpc": _mrpc_parts, "stsb": _stsb_parts, "qnli": _qnli, "sst2": _sst2_parts}
    found = {}
    for task in only or (*read, "conll", "squad"):
        if task in read:
            made = cut(read[task](data), (rows, dev, test))
            paths = [
                folder / f"{task}-{part}-{len(lines)}.jsonl" for part, lines in zip(("train", "dev", "test"), made)
            ]
            for path, lines in zip(paths, made):
                path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            found[task] = Parts("regress" if task == "stsb" else "classify", *paths)
        else:
            files = names(data, folder, rows) if task == "conll" else questions(data, folder, rows, none=False)
            found[task] = Parts("tag" if task == "conll" else "qa", *(files[part] for part in ("train", "dev", "test")))
    return found


def cut(parts: list[list[dict]], most: tuple[int, int, int]) -> list[list[dict]]:
    """Train, dev and test; where there is one part or two, dev (and test) rows come out of the first."""
    first, *rest = ([part[i] for i in np.random.default_rng(0).permutation(len(part))] for part in parts)
    taken = []
    for count in most[1 : 3 - len(rest)]:
        taken.append(first[:count])
        first = first[count:]
    return [first[: most[0]], *(part[:count] for part, count in zip([*taken, *rest], most[1:], strict=True))]


def _sst2_parts(data: Path) -> list[list[dict]]:
    return [[*_sst2(data, part)] for part in ("train", "dev", "test")]


def _mrpc_parts(data: Path) -> list[list[dict]]:
    return [[*_mrpc(data, part)] for part in ("train", "dev", "test")]


def _stsb_parts(data: Path) -> list[list[dict]]:
    return [[*_stsb(data, part)] for part in ("train", "dev", "test")]


def _rte(data: Path) -> list[list[dict]]:
    return [[*_table(data / "rte", part, "sentence1", "sentence2")] for part in ("train", "dev")]


def _qnli(data: Path) -> list[list[dict]]:
    return [[*_table(data / "qnli", "dev", "question", "sentence")]]


def _table(folder: Path, part: str, first: str, second: str) -> Iterator[dict]:
    for row in csv.DictReader(_lines(folder, part), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["label"]:
            yield {"text": row[first], "text2": row[second], "label": row["label"]}
