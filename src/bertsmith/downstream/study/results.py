"""What the cells of a study say together: scores of every system, their differences with intervals over texts and over seeds, in an order.

A system is a member and a way to tune it.  Systems are compared at one budget, on tasks by the score that chooses steps, and on held-out text in bits
per byte where both say the same kind of likelihood: never by their losses.  Two are told apart where both intervals of their difference leave 0
out: that of resampled texts and seeds (tasks/paired.py), and Student's over the seeds that both have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from bertsmith.downstream.study.heldout import SCORE
from bertsmith.downstream.study.members import Member
from bertsmith.spelling import amount
from bertsmith.tasks import metrics, paired, student
from bertsmith.tasks.metrics import Score

MEAN, TEXT = "mean of the tasks", "held-out text"
Values = Mapping[int, np.ndarray]  # by seed: (1 + b,) of a score


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`sign`: 1 where more is better, -1 of bits per byte; `of`: task, mean or text; `rows`: that it is resampled by."""

    name: str
    score: str
    of: str
    rows: int = 0
    sign: int = 1

    @property
    def said(self) -> str:
        return self.score if self.of == "text" else f"{self.score} on {self.name}" if self.of == "task" else self.name


@dataclass(frozen=True, kw_only=True)
class System:
    """`values`: by the name of a measure."""

    name: str
    member: Member
    tuning: str
    values: dict[str, Values] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that stands.  `order`: the measure that systems are ranked by, None where there is none that all have."""

    measures: tuple[Measure, ...]
    systems: tuple[System, ...]
    failed: tuple[tuple[str, str], ...] = ()  # (which cell, why)

    def measure(self, name: str) -> Measure:
        return next(one for one in self.measures if one.name == name)

    def at(self, budget: float) -> list[System]:
        """Systems of one budget."""
        return [system for system in self.systems if system.member.budget == budget]

    @property
    def budgets(self) -> list[float]:
        return sorted({system.member.budget for system in self.systems})

    def order(self, systems: Sequence[System]) -> Measure | None:
        """What systems are ranked by: the mean over the tasks, the task, or the one likelihood that all of them say."""
        tasks = [one for one in self.measures if one.of != "text"]
        known = [one for one in (tasks[-1:] or self.measures) if all(one.name in system.values for system in systems)]
        return known[0] if systems and len(known) == 1 else None

    def ranked(self, budget: float) -> list[System]:
        """The best first; in the order of the file where nothing ranks them."""
        systems = self.at(budget)
        by = self.order(systems)
        return systems if by is None else sorted(systems, key=lambda one: -by.sign * value(one.values[by.name]))


def value(values: Values) -> float:
    """The mean over seeds."""
    return float(np.mean([one[0] for one in values.values()]))


def score(values: Values) -> dict[str, Any]:
    """{value, low, high (texts and seeds), each: {seed: value}, over_seeds: {low, high}, null of one seed}."""
    found = metrics.interval(paired.between(values, values)["a"])
    each = {str(seed): float(one[0]) for seed, one in values.items()}
    return {**found, "each": each, "over_seeds": _ends([*each.values()])}


def difference(a: Values, b: Values, sure: float = 0.95) -> dict[str, Any]:
    """a less b: {value, low, high (texts and seeds), over_seeds: {value, low, high} of the seeds that both have, null of fewer than two, apart}."""
    found = metrics.interval(paired.between(a, b)["difference"], sure)
    both = [float(a[seed][0] - b[seed][0]) for seed in a if seed in b]
    over = _ends(both, sure)
    apart = over is not None and all(one["low"] > 0 or one["high"] < 0 for one in (found, over))
    return {**found, "over_seeds": over, "apart": apart and (found["value"] > 0) == (over["value"] > 0)}


def _ends(values: Sequence[float], sure: float = 0.95) -> Score | None:
    return student.interval(values, sure) if len(values) > 1 else None


def together(tasks: Sequence[Values]) -> Values:
    """The mean over tasks of the seeds that all of them have."""
    seeds = [seed for seed in tasks[0] if all(seed in one for one in tasks)]
    return {seed: np.mean([one[seed] for one in tasks], axis=0) for seed in seeds}


def outcome(
    found: Iterable[tuple[str, Member, str, dict[str, dict[int, tuple[dict, np.ndarray]]]]],
    failed: Sequence[tuple[str, str]],
) -> Outcome:
    """Of (name, member, tuning, {task: {seed: (what is said of it, its resamples)}}) of each system; held-out text stands beside the tasks by the
    kind of its likelihood.  A system that lacks one of the tasks has no mean."""
    measures: dict[str, Measure] = {}
    systems = []
    for name, member, tuning, tasks in found:
        values: dict[str, Values] = {}
        for task, seeds in tasks.items():
            about = next(iter(seeds.values()))[0]
            measures.setdefault(task, Measure(name=task, **about))
            values[task] = {seed: one for seed, (_, one) in sorted(seeds.items())}
        systems.append(System(name=name, member=member, tuning=tuning, values=values))
    own = [one for one in measures.values() if one.of == "task"]
    ordered = [*own, *(one for one in measures.values() if one.of == "text")]
    if len(own) > 1:
        for system in systems:
            if all(one.name in system.values for one in own) and (
                mean := together([system.values[one.name] for one in own])
            ):
                system.values[MEAN] = mean
        ordered.append(Measure(name=MEAN, score="mean", of="mean", rows=sum(one.rows for one in own)))
    return Outcome(measures=tuple(ordered), systems=tuple(systems), failed=tuple(failed))


def text_measure(method: str, rows: int) -> tuple[str, dict[str, Any]]:
    """The name of held-out text as one kind of likelihood says it, and what is said of it."""
    way = "likelihood" if method == "causal" else "pseudo-likelihood"
    return f"{TEXT}, {way}", {"score": SCORE, "of": "text", "rows": rows, "sign": -1}


def tree(found: Outcome) -> dict[str, Any]:
    """Scores of all systems and differences of all pairs at one budget, as study.json has them."""
    systems = [
        {"name": one.name, "member": one.member.name, "tuning": one.tuning, "budget": one.member.budget}
        | {"scores": {name: score(values) for name, values in one.values.items()}}
        for one in found.systems
    ]
    differences = []
    for budget in found.budgets:
        for a, b in combinations(found.ranked(budget), 2):
            for measure in found.measures:
                if measure.name in a.values and measure.name in b.values:
                    one = difference(a.values[measure.name], b.values[measure.name])
                    differences.append({"measure": measure.name, "a": a.name, "b": b.name, **one})
    measures = [
        {"name": m.name, "score": m.score, "of": m.of, "rows": m.rows, "better": m.sign} for m in found.measures
    ]
    return {
        "measures": measures,
        "systems": systems,
        "differences": differences,
        "failed": [list(one) for one in found.failed],
    }


def sentences(found: Outcome, budget: float) -> list[str]:
    """Who cannot be told from whom, of the systems of a budget, by what they are ranked by; and by how much the others are apart from the best."""
    ranked = found.ranked(budget)
    by = found.order(ranked)
    if by is None or len(ranked) < 2:
        return []
    said, alike = [], []
    for a, b in combinations(ranked, 2):
        one = difference(a.values[by.name], b.values[by.name])
        if not one["apart"]:
            alike.append(f"{a.name} and {b.name}")
        elif a is ranked[0]:
            said.append(f"{a.name} is better than {b.name} by {shown(one, by)}.")
    if alike:
        seeds = min(len(system.values[by.name]) for system in ranked)
        few = " (one seed says nothing of others)" if seeds == 1 else ""
        said.append(
            f"Cannot be told apart by {by.said}, over {amount(seeds, 'seed')} and the texts{few}: {'; '.join(alike)}."
        )
    return said


def shown(one: Mapping[str, Any], by: Measure) -> str:
    """A difference in words: its size, and both intervals, as the better one has them."""
    sign = 1 if one["value"] > 0 else -1
    ends = lambda of: (
        f"[{min(sign * of['low'], sign * of['high']):.4f}, {max(sign * of['low'], sign * of['high']):.4f}]"
    )
    over = f" and {ends(one['over_seeds'])} over seeds" if one["over_seeds"] else ""
    return f"{abs(one['value']):.4f} {ends(one)} over texts and seeds{over} ({by.said})"
