"""How many seeds and texts a difference of so many points needs, from the spread between the seeds and texts of what stands.

The variance of a mean difference is s^2 / seeds + t^2 / texts: s is how far seeds of a pair differ from their mean, t how far texts do, both
pooled over all pairs of systems.  With n seeds a true difference d is found in 8 of 10 studies (two-sided, 5 %) where
d >= (t(0.975, n - 1) + t(0.8, n - 1)) times the root of that variance (Cohen 1988, section 2.4, for pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from bertsmith.downstream.study.results import Measure, Outcome, System
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.tasks import student

FOUND = 0.8  # of the studies
SEEDS = (2, 3, 5, 10, 20)  # of which it is told how many texts they need
MOST = 512  # seeds that are thought of


def power(found: Outcome, points: float, budget: float) -> dict[str, Any]:
    """{points, measures: {name: {seeds, texts: of these, seeds_needed: with the texts there are, null: no number of seeds, texts_needed: {seeds: texts}, says}}}.
    InputError where no two seeds of a system stand.  A point is a hundredth of a score."""
    if not 0 < points < 100:
        raise InputError(f"{option('power', points)}: points of a score are wanted, above 0 and below 100")
    systems, wanted = found.at(budget), {}
    for measure in found.measures:
        if measure.of == "text":
            continue
        spread = _spread(systems, measure)
        if spread is None:
            raise InputError(
                f"{option('power', points)}: {measure.name}: no two seeds of a member stand yet; run the study with seeds = 2 or more, on few members, first"
            )
        wanted[measure.name] = _needed(points / 100, measure, *spread)
    if not wanted:
        raise InputError(f"{option('power', points)}: the study has no tasks, whose scores have points")
    return {"points": points, "measures": wanted}


def _spread(systems: list[System], measure: Measure) -> tuple[float, float] | None:
    """(variance of a difference over seeds, over texts times the texts); pooled over pairs, or twice that of single systems where no pair has two
    seeds in common.  The spread over seeds on the same texts has none of the texts' in it."""
    have = [system.values[measure.name] for system in systems if measure.name in system.values]
    seeds, texts = [], []
    for a, b in combinations(have, 2):
        both = [seed for seed in a if seed in b]
        if len(both) > 1:
            each = np.stack([a[seed] - b[seed] for seed in both])
            seeds.append(float(np.var(each[:, 0], ddof=1)))
            texts.append(float(np.var(each.mean(0)[1:], ddof=1)))
    if not seeds:
        for one in have:
            if len(one) > 1:
                each = np.stack([*one.values()])
                seeds.append(2 * float(np.var(each[:, 0], ddof=1)))
                texts.append(2 * float(np.var(each.mean(0)[1:], ddof=1)))
    return (float(np.mean(seeds)), float(np.mean(texts)) * measure.rows) if seeds else None


def _needed(d: float, measure: Measure, seeds: float, texts: float) -> dict[str, Any]:
    reached = next(
        (n for n in range(2, MOST + 1) if _share(n) ** 2 * (seeds / n + texts / measure.rows) <= d * d), None
    )
    rows = {}
    for n in SEEDS:
        left = (d / _share(n)) ** 2 - seeds / n
        rows[str(n)] = math.ceil(texts / left) if left > 0 else None
    fits = next((n for n in SEEDS if rows[str(n)] is not None), None)
    there = f"the {amount(measure.rows, 'text')} that {measure.name} has"
    if not seeds and not texts:
        reached, rows = None, dict.fromkeys(rows)
        says = f"Nothing can be said of a difference of {100 * d:g} points on {measure.name}: those that stand answer every text alike; train them for longer."
    elif reached is not None:
        says = f"A difference of {100 * d:g} points on {measure.name} needs {amount(reached, 'seed')} with {there}."
    elif fits is not None:
        says = (
            f"No number of seeds finds a difference of {100 * d:g} points on {measure.name} with {there}: "
            f"{amount(rows[str(fits)], 'text')} and {amount(fits, 'seed')} do."
        )
    else:
        says = f"A difference of {100 * d:g} points on {measure.name} needs more than {SEEDS[-1]} seeds: they differ too much."
    spread = {"over_seeds": math.sqrt(seeds), "over_texts": math.sqrt(texts / measure.rows)}
    return {**spread, "seeds_needed": reached, "texts_needed": rows, "says": says}


def _fewest(suffice: Callable[[int], bool]) -> int | None:
    """The smallest number of seeds that suffice, of 2 to MOST: more of them always do, too."""
    low, high = 1, 2
    while not suffice(high):
        if high == MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffice(middle) else (middle, high)
    return high


def _share(n: int) -> float:
    """Standard errors that a difference has to be, of n seeds."""
    return student.quantile(0.975, n - 1) + student.quantile(FOUND, n - 1)
