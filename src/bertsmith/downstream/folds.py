"""Cross-validation: a fine-tuning for each part of the training file, which the others learn and it is asked.

OUT/fold-0, OUT/fold-1, … are runs; OUT/predictions.jsonl holds what each row's own fold says of it, in the order of the file, and
OUT/result.json mean and spread over the folds.  Parts are drawn as `--dev 0.1` is: by class, with equal texts on one side.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.asked import Asked, check_early
from bertsmith.downstream.labelled_files import Files, Rows
from bertsmith.downstream.model import data_of
from bertsmith.downstream.tuned import RESULT, RESULT_FORMAT
from bertsmith.downstream.unseen import check_folds
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.tasks import metrics
from bertsmith.tasks.split import Fold
from bertsmith.training import launch
from bertsmith.training.job import silent

PREDICTIONS = "predictions.jsonl"
FOLD = re.compile(r"fold-\d+")


def cross_validated(tune: Callable[..., dict[str, Any]], folds: int, asked: Asked) -> dict[str, Any]:
    """What result.json says: {task, folds, over_folds: {score: {mean, spread, folds}}, results, predictions}.

    `tune`: `finetune`, which is called for each fold.  InputError before anything is written: for fewer than two folds or
    more than there are rows, and for a label that stands in one of them alone, which no other could teach.
    """
    out, first, options = Path(asked.out), launch.rank() == 0, asked.options
    _check_asked(folds, out, options)
    say = asked.say if first else silent
    check_early(asked)
    if first:  # what is wrong with the rows is told before anything begins
        read = Rows.read(asked.files, silent)
        check_folds(folds, read.sources["train"]["sha256"], asked.teacher, data_of(asked.model))
    results, rows = [], []
    for number in range(folds):
        part = Fold(number, folds)
        say(f"fold {number} of {folds}:")
        results.append(tune(**options | {"dev": part, "out": out / f"fold-{number}"}))
        if first:
            rows += _asked(out / f"fold-{number}", asked.files.fold(number, folds), options)
    over = {name: _over(results, name) for name in results[0]["dev"]}
    result: dict[str, Any] = {
        "format": RESULT_FORMAT,
        "kind": "finetune",
        "task": asked.task,
        "folds": folds,
        "over_folds": over,
        "results": results,
        "predictions": PREDICTIONS,
    }
    for name, found in over.items():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {amount(folds, 'fold')}")
    if first:
        rows.sort(key=lambda row: row["index"])
        files.write_rows(out / PREDICTIONS, rows)
        files.write(out / RESULT, files.sealed(result))
        say(f"{printable(out / PREDICTIONS)}: {amount(len(rows), 'row')}, each by the fold that has not learned it")
    return json.loads(json.dumps(result))


def _over(results: list[dict[str, Any]], name: str) -> dict[str, float]:
    found = metrics.spread([result["dev"][name]["value"] for result in results])
    return {"mean": found["mean"], "spread": found["spread"], "folds": len(results)}


def _asked(run: Path, given: Files, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What the model of a fold says of its own rows: {index, fold, label, scores, …}."""
    from bertsmith.downstream.model import load
    from bertsmith.downstream.predict import judged_rows

    loaded = load(run, options["device"] or "cpu", options["members"])
    read = Rows.read(given, silent)
    assert read.numbers is not None  # a fold is of the training file
    _, said, kind = judged_rows(loaded, read.rows["dev"])
    answers = kind.answer(read.rows["dev"], said, loaded.labels)
    fold = {"fold": given.dev.number}
    return [{"index": index, **fold, **answer} for index, answer in zip(read.numbers.tolist(), answers, strict=True)]


def _check_asked(folds: int, out: Path, options: dict[str, Any]) -> None:
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"{option('folds', folds)}: expected a number from 2")
    if options["seeds"] != 1:
        raise InputError(
            f"{option('folds', folds)} with {option('seeds', options['seeds'])}: a fold is one run; take one of the two"
        )
    if options["against"] is not None:
        raise InputError(
            f"{option('folds', folds)} with {option('against')}: each fold has dev rows of its own; `bertsmith compare` takes two of them"
        )
    resume = options["resume"]
    if not resume and os.path.lexists(out / RESULT):
        raise InputError(f"{printable(out)}: {option('out')} holds a fine-tuning already; choose another place")
    files.refuse_unless_replaceable(out, _ours, "cross-validation", force=False)
    inside = sorted(filter(FOLD.fullmatch, os.listdir(out))) if out.is_dir() else []
    for name in inside:
        if int(name.removeprefix("fold-")) >= folds:
            raise InputError(
                f"{printable(out / name)}: {option('folds', folds)} has no such one; choose another place, or as many folds"
            )
        if not resume:
            raise InputError(f"{printable(out / name)}: a fold that was begun; {flag('resume')} goes on")


def _ours(name: str) -> bool:
    own = (RESULT, PREDICTIONS)
    return name in own or any(name.startswith(f".{one}.tmp-") for one in own) or FOLD.fullmatch(name) is not None
