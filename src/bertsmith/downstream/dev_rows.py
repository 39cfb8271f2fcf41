"""The dev rows of a fine-tuning, read again: of a file of their own, or the share of the training file that was drawn."""

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
    source = data.get("train") or {} if share else dev
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
    if not share:
        return rows
    if "on_bad_answer" in task and hasattr(kind, "mended"):
        rows = kind.mended(rows, task["on_bad_answer"])
    which, _, digest = drawn(kind, rows, share)
    return rows.picked(which.tolist()) if digest == dev.get("sha256") else None
