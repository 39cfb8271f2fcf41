"""Exams: how a run is judged while it works, and by which of them its best step is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bertsmith.training.distributed import World

if TYPE_CHECKING:
    from bertsmith.training.precision import Precision

Evaluation = dict[str, dict[str, Any]]  # {term: {loss, …}}: what stands in the line of a step in metrics.jsonl


class Exam(Protocol):
    every: float  # steps from one to the next, on average; 0: at the end alone

    def due(self, step: int) -> bool:
        """Whether it is held after this step; after the last one it always is."""

    def hold(self, member: Any, precision: Precision, world: World, stop: Callable[[], bool]) -> Evaluation | None:
        """By all processes together, in the run's precision unless it has one of its own; None if `stop()` turned true on the way."""

    def said(self, line: dict) -> str:
        """What a user is told of a line of metrics.jsonl that has an evaluation."""

    def rank(self, found: Evaluation) -> list[float] | None:
        """The higher the better, compared from the left; None where no step is better than the newest."""

    def seconds(self, member: Any, precision: Precision, world: World) -> float:
        """How long it takes, by a part of it."""


def pause_at(share: float, steps: int, exam: Exam | None) -> int:
    """The update of the first exam that a share of the updates lies behind; the last one where there is none before it."""
    due = (
        step for step in range(max(1, math.ceil(share * steps - 1e-9)), steps) if exam is not None and exam.due(step)
    )
    return next(due, steps)


class Exams:
    """Of a mixture: one for some of its feeds, held together."""

    def __init__(self, parts: Sequence[Exam], every: float):
        self.parts, self.every = parts, every

    def due(self, step: int) -> bool:
        return bool(self.every) and step % int(self.every) == 0

    def hold(self, member: Any, precision: Precision, world: World, stop: Callable[[], bool]) -> Evaluation | None:
        found: Evaluation = {}
        for exam in self.parts:
            part = exam.hold(member, precision, world, stop)
            if part is None:
                return None
            found |= part
        return found

    def said(self, line: dict) -> str:
        shown = (
            f"{term} " + ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "count")
            for term, found in line["evaluation"].items()
        )
        return f"step {line['step']}: {'; '.join(shown)}"

    def rank(self, found: Evaluation) -> None:
        """One trunk is best for none of its feeds alone: the newest step is the run."""

    def seconds(self, member: Any, precision: Precision, world: World) -> float:
        return sum(exam.seconds(member, precision, world) for exam in self.parts)
