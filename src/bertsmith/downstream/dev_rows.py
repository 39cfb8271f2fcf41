"""The rows of a fine-tuning, read again: dev rows of a file of their own, or the share of the training file that was drawn."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.tasks import kinds, split


def drawn(kind: kinds.Kind, rows: Any, share: float) -> tuple[np.ndarray, str, str]:
    """Numbers of the rows that are the dev set; by what they are drawn; the SHA-256 of the numbers."""
    groupings, (by, strata) = kind.groupings(rows), kind.strata(rows)
    dev, which = split.drawn(share, [keys for _, keys in groupings], strata)
    return dev, f"{by}{groupings[which][0]}", hashlib.sha256(dev.astype("<i8").tobytes()).hexdigest()


def dev_rows(task: dict[str, Any], data: dict[str, Any]) -> Any | None:
    """As the run read them, by config.json's `task` and `data`; None where their file is not there any more, is another, or never was one.

    No torch is loaded.  InputError where the file cannot be read.
    """
    dev = data.get("dev") or {}
    share = dev.get("share")
    rows = _read(task, data.get("train") or {} if share else dev, bool(share))
    if rows is None or not share:
        return rows
    which, digest = _drawn(task, rows, share)
    return rows.picked(which.tolist()) if digest == dev.get("sha256") else None


def train_rows(task: dict[str, Any], data: dict[str, Any]) -> Any | None:
    """The rows that were learned from, likewise."""
    rows, dev = _read(task, data.get("train") or {}, True), data.get("dev") or {}
    if rows is None or not dev.get("share"):
        return rows
    which, digest = _drawn(task, rows, dev["share"])
    return rows.picked(np.delete(np.arange(len(rows)), which).tolist()) if digest == dev.get("sha256") else None


def _drawn(task: dict[str, Any], rows: Any, share: float) -> tuple[np.ndarray, str]:
    which, _, digest = drawn(kinds.of_task(task), rows, share)
    return which, digest


def _read(task: dict[str, Any], source: dict[str, Any], mended: bool) -> Any | None:
    """`mended`: whether bad answers were taken out, as in training rows they are."""
    path = source.get("path")
    if not path or not os.path.isfile(path) or files.sha256(path) != source.get("sha256"):
        return None
    kind = kinds.of_task(task)
    rows = kind.read(
        path,
        columns=task.get("columns") or None,
        header=task.get("header", True),
        encoding=task.get("encoding", "utf-8"),
    )
    return (
        kind.mended(rows, task["on_bad_answer"])
        if mended and "on_bad_answer" in task and hasattr(kind, "mended")
        else rows
    )
