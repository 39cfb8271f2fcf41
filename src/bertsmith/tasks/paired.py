"""Two systems on the same examples: the difference of every score, with its interval.  n examples, b resamples, s seeds.

Both are scored on the same resample of the examples.  Where a system was trained with several seeds its score is their mean, and the seeds
are resampled, too: an interval over the examples alone says nothing about a method whose seeds are spread.  Seeds of the same numbers are
one draw: they shared the order of the rows and the head's first weights.  So a system differs from itself by nothing, and b - a is -(a - b).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertsmith.tasks import metrics
from bertsmith.tasks.metrics import Figures, Score


def compared(
    a: Mapping[int, Figures],
    b: Mapping[int, Figures],
    n: int,
    seed: int = 0,
    resamples: int = metrics.RESAMPLES,
) -> dict[str, dict[str, Score]]:
    """{"a", "b", "difference": {score: {value, low, high}}} of two systems, each the figures of its seeds, by their numbers, on the same n
    examples.  Of a single seed nothing is drawn.
    """
    drawn = [seeds(seed, tuple(system), resamples) for system in (a, b)]
    at = 0

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal at
        rows = slice(at, at + len(weights))
        at += len(weights)
        sides = [
            _mean(list(system.values()), weights, taken[rows]) for system, taken in zip((a, b), drawn, strict=True)
        ]
        both = [name for name in sides[0] if name in sides[1]]
        found = {f"a {name}": sides[0][name] for name in both} | {f"b {name}": sides[1][name] for name in both}
        return found | {f"difference {name}": sides[0][name] - sides[1][name] for name in both}

    scores: dict[str, dict[str, Score]] = {"a": {}, "b": {}, "difference": {}}
    for key, score in metrics.scored(figures, n, seed, resamples).items():
        side, _, name = key.partition(" ")
        scores[side][name] = score
    return scores


def between(a: Mapping[int, np.ndarray], b: Mapping[int, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """{"a", "b", "difference"}, (1 + b,) each, of one score whose resamples (1 + b,) are known of every seed, as `metrics.resampled` drew them of
    the same examples with the same seed: what `compared` takes its intervals of."""
    sides = []
    for system in (a, b):
        taken = seeds(seed, tuple(system), len(next(iter(system.values()))) - 1)
        sides.append(sum(taken[:, i] * values for i, values in enumerate(system.values())))
    return {"a": sides[0], "b": sides[1], "difference": sides[0] - sides[1]}


def said(a: str, b: str, difference: Score, score: str) -> str:
    """In one sentence which of two is better by `score`, or that they cannot be told apart: their interval holds 0."""
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if low <= 0 <= high:
        return f"{a} and {b} cannot be told apart: difference {_shown(value, low, high)} {score}"
    better, worse = (a, b) if value > 0 else (b, a)
    if value < 0:
        value, low, high = -value, -high, -low
    return f"{better} is better than {worse} by {_shown(value, low, high)} {score}"


def mcnemar(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """{both, only_a, only_b, neither, p} of (n,) right or wrong answers of two systems to the same n examples.

    `p` is exact and two-sided (McNemar 1947): how likely examples that only one got right are parted at least so unevenly, where each is
    as likely to be either's.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    counts = {"both": a & b, "only_a": a & ~b, "only_b": b & ~a, "neither": ~(a | b)}
    found: dict[str, Any] = {name: int(which.sum()) for name, which in counts.items()}
    return found | {"p": _even(found["only_a"], found["only_b"])}


def _even(k: int, other: int) -> float:
    """How likely n fair coins fall at least as unevenly as k heads and `other` tails."""
    n, k = k + other, min(k, other)
    tail = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(k + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, tail)))


def _shown(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def seeds(seed: int, numbers: tuple[int, ...], resamples: int) -> np.ndarray:
    """(1 + b, s) shares that sum to 1, by the numbers of the seeds; row 0 takes every seed alike, as the sample itself does every example."""
    many, generator = len(numbers), np.random.default_rng([seed, *numbers])
    taken = generator.multinomial(many, np.full(many, 1 / many), size=resamples) / many
    return np.concatenate([np.full((1, many), 1 / many), taken])


def _mean(system: Sequence[Figures], weights: np.ndarray, taken: np.ndarray) -> dict[str, np.ndarray]:
    each = [figures(weights) for figures in system]
    return {name: sum(taken[:, i] * found[name] for i, found in enumerate(each)) for name in each[0]}
