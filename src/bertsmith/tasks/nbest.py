"""The best answers to a question, each text once, and how likely each is.  BERT's run_squad, write_predictions: the spans of all windows by
start + end, of those with one text the best, BEST of them; a softmax over their sums and the one of no answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.tasks import blanks, metrics

Array = np.ndarray
BEST = 20  # answers to a question that share its probability


@dataclass(frozen=True)
class Candidate:
    """The characters [start, end) of a context; `score` is start + end of its logits."""

    text: str
    start: int
    end: int
    score: float


def check(top: int) -> None:
    """InputError for a number of answers that cannot be given."""
    if not 0 < top <= BEST:
        raise InputError(f"{option('top', top)}: 1 to {BEST} answers a question can be given")


def distinct(found: list[tuple[float, int, int]], characters: Array, context: str) -> tuple[Candidate, ...]:
    """`found`: (score, first token, last token), the best first; `characters` (t, 2) of the context's tokens."""
    best: dict[str, Candidate] = {}
    for score, first, last in found:
        start, end = int(characters[first, 0]), blanks.whole(context, int(characters[last, 1]))
        best.setdefault(context[start:end], Candidate(context[start:end], start, end, score))
        if len(best) == BEST:
            break
    return tuple(best.values())


def shares(null: float, best: tuple[Candidate, ...]) -> tuple[float, ...]:
    """How likely no answer and each of the best ones are."""
    return tuple(np.exp(metrics.log_softmax(np.array([null, *(each.score for each in best)]))).tolist())


def listed(null: float, best: tuple[Candidate, ...], nulls: bool, top: int) -> list[dict[str, Any]]:
    """The `top` best for `predict`, the best first, where a question may have none that among them, as an empty text."""
    none, *own = shares(null, best)
    rows: list[dict[str, Any]] = [
        {"text": each.text, "start": each.start, "end": each.end, "score": each.score, "probability": p}
        for each, p in zip(best, own, strict=True)
    ]
    if nulls:
        rows.append({"text": "", "start": None, "end": None, "score": null, "probability": none})
    return sorted(rows, key=lambda row: -row["score"])[:top]
