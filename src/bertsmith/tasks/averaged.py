"""The score of a benchmark: each task is the mean of its metrics, the benchmark the mean of its tasks.  b resamples.

Rows are resampled within each dev file, seeds within each task, and no two tasks share a draw: what is averaged is one resample of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bertsmith.tasks import metrics, paired
from bertsmith.tasks.benchmarks import Dev
from bertsmith.tasks.metrics import Figures, Score


@dataclass(frozen=True)
class Judged:
    """What the models of a task, by the numbers of their seeds, scored on one of its dev files of `rows` rows."""

    dev: Dev
    rows: int
    figures: Mapping[int, Figures]


@dataclass(frozen=True)
class Averaged:
    """`score` (1 + b,): of the rows themselves, then of the resamples; `dev`: {name of the dev file: {metric: its score}}."""

    score: np.ndarray
    dev: dict[str, dict[str, Score]] = field(default_factory=dict)


def task(judged: Sequence[Judged], number: int, resamples: int = metrics.RESAMPLES) -> Averaged:
    """Of one task; `number`: its own among all, by which its draws are its own."""
    counted, said = [], {}
    taken = paired.seeds(number, tuple(judged[0].figures), resamples)
    for i, one in enumerate(judged):
        each = [metrics.resampled(figures, one.rows, [number, i], resamples) for figures in one.figures.values()]
        found = {name: sum(taken[:, s] * values[name] for s, values in enumerate(each)) for name in one.dev.metrics}
        said[one.dev.name or "dev"] = {name: metrics.interval(values) for name, values in found.items()}
        if one.dev.counts:
            counted.append(np.mean(list(found.values()), axis=0))
    return Averaged(np.mean(counted, axis=0), said)


def mean(tasks: Sequence[Averaged]) -> Score:
    return metrics.interval(np.mean([one.score for one in tasks], axis=0))
