"""Several fine-tunings answer together: the mean of their probabilities, or of their numbers (Howard & Ruder 2018, section 3.3).

n rows, c classes, k models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertsmith.downstream.model import Loaded
from bertsmith.downstream.predict import said_rows
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import kinds, metrics

Array = np.ndarray


def together(loaded: Loaded, others: Sequence[Loaded], kind: Any, rows: Any, on_long: Any, say: Any) -> Array:
    """What `said_rows` gives of one model: (n, c) logits whose softmax is the mean, or (n, 1) numbers.  Each model reads the rows by its own
    tokenizer, and its classes are found by their names."""
    _check(loaded, others, kind)
    say(f"the mean of {amount(len(others) + 1, 'model')}: {', '.join(printable(one.run) for one in (loaded, *others))}")
    each = [np.asarray(said_rows(one, kind_of(one), rows, on_long, say), np.float64) for one in (loaded, *others)]
    labels, known = loaded.labels, [one.labels for one in (loaded, *others)]
    if kind.teaches == "number":
        found = np.mean([said * own.scale + own.mean for said, own in zip(each, known, strict=True)], axis=0)
        return ((found - labels.mean) / labels.scale).astype(np.float32)
    shares = [
        np.exp(metrics.log_softmax(said / own.temperature))[:, [own.names.index(name) for name in labels.names]]
        for said, own in zip(each, known, strict=True)
    ]
    with np.errstate(divide="ignore"):
        said = np.log(np.mean(shares, axis=0)) * labels.temperature
    return np.maximum(said, np.finfo(np.float32).min).astype(np.float32)


def kind_of(loaded: Loaded) -> Any:
    return kinds.of_task(loaded.task or {})


def _check(loaded: Loaded, others: Sequence[Loaded], kind: Any) -> None:
    """InputError for a task whose answers have no mean, for another task, and for other labels."""
    if getattr(kind, "teaches", None) is None or kind.name not in ("classify", "regress"):
        raise InputError(
            f"{option('ensemble')}: {option('task', kind.name)} has no mean of answers; {option('task', 'classify', 'regress')} have"
        )
    for other in others:
        if other.task is None or kind_of(other).name != kind.name:
            what = "is a pre-training run" if other.task is None else f"is of {option('task', kind_of(other).name)}"
            raise InputError(
                f"{option('ensemble', printable(other.run))}: {what}; a fine-tuning of {option('task', kind.name)} is wanted"
            )
        if more := sorted({*other.labels.names} ^ {*loaded.labels.names}):
            raise InputError(
                f"{option('ensemble', printable(other.run))}: has other labels than {printable(loaded.run)}: {printable(more[0], 60)}"
            )
