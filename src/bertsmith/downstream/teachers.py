"""Teachers of a fine-tuning: what fine-tuned models say of its training rows, asked once, before a student learns from it.

A teacher reads the texts by its own tokenizer, so that it may be any member.  What all of them say is kept in OUT under a name that is made
of digests, and a run that is gone on with reads it there; config.json has the teachers and the whole digest.  k teachers, n answers (a row
each; a word each of tags), c classes, or 1 number.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream.based import plain
from bertsmith.downstream.compare import Side
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.predict import said_rows
from bertsmith.errors import InputError, printable
from bertsmith.objectives.distilled import check_one_stack
from bertsmith.spelling import amount, option, setting
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.labels import Labels
from bertsmith.training.job import silent

Array = np.ndarray


@dataclass(frozen=True)
class Taught:
    """`said` (k, n, c): logits, or numbers in the scale of the files; `starts` (rows + 1,): where the answers about each row begin."""

    said: Array
    starts: Array
    models: tuple[str, ...]
    weights: tuple[Any, ...]
    key: str  # of what was asked of whom

    @property
    def data(self) -> bytes:
        kept = io.BytesIO()
        np.save(kept, self.said, allow_pickle=False)
        return kept.getvalue()

    @property
    def about(self) -> dict[str, Any]:
        """As config.json has it."""
        digest = hashlib.sha256(self.data).hexdigest()
        return {"models": [*self.models], "weights": [*self.weights], "sha256": digest}

    def picked(self, which: Sequence[int]) -> Taught:
        """Of these rows."""
        counts = np.diff(self.starts)[list(which)]
        numbers = [np.arange(self.starts[i], self.starts[i + 1]) for i in which]
        said = self.said[:, np.concatenate([np.zeros(0, np.int64), *numbers])]
        return replace(self, said=said, starts=np.concatenate([[0], np.cumsum(counts)]))

    def targets(self, teaches: str, known: Labels, temperature: float) -> Array:
        """(n, c) float32: the mean of the probabilities at a temperature, zeros where no teacher read a word; of numbers their mean, in the
        scale of training."""
        with np.errstate(all="ignore"):
            read = ~np.isnan(self.said).any(2)
            if teaches == "number":
                each = (self.said.astype(np.float64) - known.mean) / known.scale
            else:
                each = np.exp(
                    metrics.log_softmax(np.nan_to_num(self.said).reshape(-1, self.said.shape[2]) / temperature)
                )
                each = each.reshape(self.said.shape)
        total = np.where(read[..., None], each, 0).sum(0)
        return (total / np.maximum(read.sum(0), 1)[:, None]).astype(np.float32)


def labels_of(teachers: Sequence[Any], kind: Any, load: bool = True) -> Labels:
    """What the teachers know; no torch is loaded where they are runs, and without `load` nothing is asked of others.  InputError for another task, other labels, or a kind that none can teach."""
    if not hasattr(kind, "teaches"):
        able = [name for name, other in kinds.KINDS.items() if hasattr(other, "teaches")]
        raise InputError(
            f"{option('teacher')}: {option('task', kind.name)} has no teachers; {option('task', *able)} has"
        )
    found = None
    for teacher in teachers:
        try:
            side = Side.of(teacher)
        except InputError as error:
            raise InputError(f"{option('teacher')}: {error}") from None
        if side.task is None and not load:
            continue
        task = side.task or (opened(teacher).task if not isinstance(teacher, Loaded) else None)
        if task is None or task["kind"] != kind.name:
            what = "has no head for a task" if task is None else f"is of {option('task', task['kind'])}"
            raise InputError(
                f"{option('teacher', side.name)}: {what}; a teacher of {option('task', kind.name)} is wanted"
            )
        known = Labels.of_task(task)
        if found is not None and {*known.names} != {*found.names}:
            more = sorted({*known.names} ^ {*found.names})[0]
            raise InputError(f"{option('teacher', side.name)}: has other labels than the first: {printable(more, 60)}")
        found = found or known
    return found or Labels()


def taught(teachers: Sequence[Any], rows: Any, known: Labels, out: Path, members: tuple[str, ...], say: Any) -> Taught:
    """What they say of training rows; what OUT has of the same teachers and rows is read, and nothing asked again."""
    found = [opened(teacher, members=members, say=say) for teacher in teachers]
    for loaded in found:
        _check_labels(loaded, known)
    weights, names = tuple(loaded.weights for loaded in found), tuple(printable(loaded.run) for loaded in found)
    asked = json.dumps([weights, known.names, [*map(str, rows.inputs())]], ensure_ascii=True)
    key = hashlib.sha256(asked.encode()).hexdigest()[:16]
    counts = [len(words) for words in rows.words] if hasattr(rows, "words") else [1] * len(rows)
    starts, kept = np.concatenate([[0], np.cumsum(counts)]), _kept(out, key)
    said = np.stack([_said(loaded, rows, known) for loaded in found]) if kept is None else kept
    of = f"the mean of {amount(len(names), 'teacher')}" if len(names) > 1 else f"teacher {names[0]}"
    what = "read" if kept is not None else "asked"
    say(f"{of}: {amount(said.shape[1], 'answer')} about {amount(len(rows), 'training row')}, {what}")
    return Taught(said=said, starts=starts, models=names, weights=weights, key=key)


def layers_of(teachers: Sequence[Any], student: Loaded, options: Any, members: tuple[str, ...], say: Any) -> Loaded:
    """The teacher whose layers a student learns, which reads what the student reads.  InputError for several, and for one that cannot."""
    where = option("teacher", Side.of(teachers[0]).name)
    if len(teachers) > 1:
        raise InputError(
            f"{option('teacher')}: {len(teachers)} of them; {setting('taught.epochs')} learns the layers of one"
        )
    found = plain(opened(teachers[0], str(student.device), members, say))
    if found.member is getattr(teachers[0], "member", None):
        found = replace(found, member=deepcopy(found.member))
    theirs = found.recipe.model
    check_one_stack(where, theirs, student.recipe.model)
    if _reading(found) != _reading(student):
        raise InputError(
            f"{where}: its tokenizer is not that of {printable(student.run)}, and layers are learned of the same tokens; leave {setting('taught.epochs')} out"
        )
    if theirs.longest is not None and options.length > theirs.longest:
        raise InputError(
            f"{where}: reads {amount(theirs.longest, 'token')} at most; {setting('length', value=theirs.longest)}"
        )
    if 0 < theirs.segments < student.recipe.model.segments:
        raise InputError(
            f"{where}: has {amount(theirs.segments, 'segment')}, and the student {student.recipe.model.segments}; leave {setting('taught.epochs')} out"
        )
    return found


def _reading(loaded: Loaded) -> Any:
    return getattr(loaded.tokenizer, "reading", loaded.tokenizer.digest)


def _check_labels(loaded: Loaded, known: Labels) -> None:
    missing = next((name for name in known.names if name not in loaded.labels.names), None)
    if missing is not None:
        raise InputError(
            f"{option('teacher', printable(loaded.run))}: does not know the label {printable(missing, 60)}"
        )


def _said(loaded: Loaded, rows: Any, known: Labels) -> Array:
    """(n, c), classes in the student's order."""
    kind: Any = kinds.of_task(loaded.task or {})
    said = said_rows(loaded, kind, rows, None, silent)
    values = np.asarray(getattr(said, "logits", said), np.float32)
    if kind.teaches == "number":
        return (values * loaded.labels.scale + loaded.labels.mean).astype(np.float32)
    at = {name: i for i, name in enumerate(loaded.labels.names)}
    return values[:, [at[name] for name in known.names]]


def _kept(out: Path, key: str) -> Array | None:
    """InputError where what stands in OUT is damaged."""
    path = next(iter(sorted(out.glob(f"teacher-{key}-*.npy"))), None)
    if path is None:
        return None
    check(path)
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)


def keep(made: Taught, out: Path) -> None:
    """In OUT, under the digest of what was asked and that of what was said."""
    path = out / f"teacher-{made.key}-{made.about['sha256'][:16]}.npy"
    if not os.path.lexists(path):
        with files.writing(out):
            out.mkdir(parents=True, exist_ok=True)
        files.write(path, made.data)


def check(path: Path) -> None:
    """InputError where the file is not what its name says."""
    if files.sha256(path)[:16] != path.stem.rpartition("-")[2]:
        raise InputError(
            f"{printable(path)}: damaged: its SHA-256 is not the one in its name; remove it, and the teachers are asked again"
        )
