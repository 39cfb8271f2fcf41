"""The rows of a fine-tuning, read again: dev rows of a file of their own, or the share of the training file that was drawn."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.tasks import kinds, split
from bertsmith.tasks.labels import Labels


def drawn(kind: kinds.Kind, rows: Any, part: float | split.Fold) -> tuple[np.ndarray, str, str]:
    """Numbers of the rows that are the dev set, a share or a fold; by what they are drawn; the SHA-256 of the numbers."""
    groupings, (by, strata) = kind.groupings(rows), kind.strata(rows)
    keys = [keys for _, keys in groupings]
    if isinstance(part, split.Fold):
        numbers, which = split.folded(part.of, keys, strata)
        dev = np.flatnonzero(numbers == part.number)
    else:
        dev, which = split.drawn(part, keys, strata)
    return dev, f"{by}{groupings[which][0]}", hashlib.sha256(dev.astype("<i8").tobytes()).hexdigest()


def check_folds(kind: kinds.Kind, rows: Any, known: Labels, folds: int) -> None:
    """InputError for a label that stands in one of the folds alone: where that is the dev set nothing teaches it."""
    whole = _labels(kind.outline(rows, known))
    for number in range(folds):
        dev, _, _ = drawn(kind, rows, split.Fold(number, folds))
        left = _labels(kind.outline(rows.picked(np.delete(np.arange(len(rows)), dev).tolist()), known))
        lost = [name for name, many in whole.items() if many and not left.get(name)]
        if lost:
            many = f"in {amount(whole[lost[0]], 'place')}, all in one fold"
            raise InputError(
                f"{printable(rows.path)}: label: {printable(repr(lost[0]), 60)} stands {many} of {folds}; a fold that is asked about it could not learn it; give it more rows, or leave it out"
            )


def _labels(outline: dict[str, Any]) -> dict[str, int]:
    """How often each class, label, type or tag stands there."""
    return next((outline[name] for name in ("classes", "labels", "entities", "tags") if name in outline), {})


def part_of(dev: dict[str, Any]) -> float | split.Fold | None:
    """Of the training file that the dev set is, by what config.json says of it; None where it has a file of its own."""
    return split.Fold(**dev["fold"]) if "fold" in dev else dev.get("share")


def dev_rows(task: dict[str, Any], data: dict[str, Any]) -> Any | None:
    """As the run read them, by config.json's `task` and `data`; None where their file is not there any more, is another, or never was one.

    No torch is loaded.  InputError where the file cannot be read.
    """
    dev = data.get("dev") or {}
    part = part_of(dev)
    rows = _read(task, data.get("train") or {} if part else dev, bool(part))
    if rows is None or not part:
        return rows
    which, _, digest = drawn(kinds.of_task(task), rows, part)
    return rows.picked(which.tolist()) if digest == dev.get("sha256") else None


def train_rows(task: dict[str, Any], data: dict[str, Any]) -> Any | None:
    """The rows that were learned from, likewise."""
    dev = data.get("dev") or {}
    rows, part, kind = _read(task, data.get("train") or {}, True), part_of(dev), kinds.of_task(task)
    if rows is not None and part:
        which, _, digest = drawn(kind, rows, part)
        rows = rows.picked(np.delete(np.arange(len(rows)), which).tolist()) if digest == dev.get("sha256") else None
    few = (data.get("train") or {}).get("few")
    return (
        rows if rows is None or not few else rows.picked(split.first(split.Few(**few), kind.strata(rows)[1]).tolist())
    )


def _read(task: dict[str, Any], source: dict[str, Any], mended: bool) -> Any | None:
    """`mended`: whether bad answers were taken out, as in training rows they are."""
    path = source.get("path")
    if not path or not os.path.isfile(path) or files.sha256(path) != source.get("sha256"):
        return None
    kind: Any = kinds.of_task(task)
    rows = kind.read(
        path,
        columns=task.get("columns") or None,
        header=task.get("header", True),
        encoding=task.get("encoding", "utf-8"),
    )
    bad = mended and "on_bad_answer" in task and hasattr(kind, "mended")
    return kind.mended(rows, task["on_bad_answer"]) if bad else rows
