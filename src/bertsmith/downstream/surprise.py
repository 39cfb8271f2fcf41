"""How many bits a byte of text takes a model, and two models on the same passages.  n passages.

A masked member is asked for each token with the later tokens of its word hidden beside it (pll-word, Kauf & Ivanova 2023), one that reads
from the left for each from those before: the log-probability of a word is then a product over its tokens, however many there are, and a
byte is a byte.  So models whose tokenizers differ can be held against one another, as with new words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.tasks import paired
from bertsmith.tasks.metrics import Figures, Score

BITS = "bits_per_byte"
Said = dict[str, Any]  # {method, logprob, bytes, tokens}: of each passage, logprob in nats


def heard(
    model: str | Path, passages: Sequence[str], *, threads: int | None = None, members: tuple[str, ...] = ()
) -> Said:
    """What a model says of the passages."""
    from bertsmith.downstream.score import score
    from bertsmith.training.precision import threads_set

    with threads_set(threads):
        found = score(model, [{"text": passage} for passage in passages], members=members)
    each = {name: [row[name] for row in found["texts"]] for name in ("logprob", "bytes", "tokens")}
    return {"method": found["method"], **each}


def perplexity(said: Said) -> float:
    """Of a token, which depends on what the tokens are."""
    return math.exp(min(700.0, -sum(said["logprob"]) / max(1, sum(said["tokens"]))))


def figures(said: Said) -> Figures:
    logprob, sizes = np.asarray(said["logprob"], np.float64), np.asarray(said["bytes"], np.float64)
    return lambda weights: {BITS: -(weights @ logprob) / (weights @ sizes) / math.log(2)}


def held_against(before: Said, after: Said, seed: int = 0) -> dict[str, Score]:
    """{before, after, difference}: bits per byte with 95 % intervals, passages resampled for both together; below 0 `after` is better."""
    found = paired.compared({0: figures(after)}, {0: figures(before)}, len(before["bytes"]), seed)
    return {"before": found["b"][BITS], "after": found["a"][BITS], "difference": found["difference"][BITS]}


def below(difference: Mapping[str, float]) -> bool:
    """Whether the whole interval is below 0."""
    return difference["high"] < 0


def above(difference: Mapping[str, float]) -> bool:
    return difference["low"] > 0
