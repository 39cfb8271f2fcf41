"""The dev files of several tasks as one exam: the mean of their main scores chooses the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bertsmith.downstream.dev import Dev
from bertsmith.nn.modules.member import MemberModel
from bertsmith.training.distributed import World
from bertsmith.training.exam import Evaluation, Exam
from bertsmith.training.precision import Precision


class Devs:
    """`devs` by the names of their tasks, all made for the same epochs; `texts`: held-out ones, which are told and choose nothing."""

    def __init__(self, devs: Mapping[str, Dev], texts: Sequence[Exam] = ()):
        self.devs, self.texts = devs, texts

    @property
    def first(self) -> Dev:
        """Which knows when an epoch ends."""
        return next(iter(self.devs.values()))

    @property
    def _all(self) -> list[Any]:
        return [*self.devs.values(), *self.texts]

    @property
    def every(self) -> float:
        return self.first.every

    def due(self, step: int) -> bool:
        return self.first.due(step)

    def hold(
        self, member: MemberModel, precision: Precision, world: World, stop: Callable[[], bool]
    ) -> Evaluation | None:
        found: Evaluation = {}
        for exam in self._all:
            part = exam.hold(member, precision, world, stop)
            if part is None:
                return None
            found |= part
        return found

    def main(self, found: Mapping[str, Any]) -> dict[str, float]:
        """{task.score: value} of each task's main score."""
        best = {name: dev.kind.best(dev.known) for name, dev in self.devs.items()}
        return {f"{name}.{best[name]}": found[dev.term][best[name]] for name, dev in self.devs.items()}

    def mean(self, found: Mapping[str, Any]) -> float:
        """Of the main scores, as shares of 1."""
        shares = [value / dev.whole for value, dev in zip(self.main(found).values(), self.devs.values(), strict=True)]
        return sum(shares) / len(shares)

    def said(self, line: dict) -> str:
        found, first = line["evaluation"], self.first
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.main(found).items())
        own = {dev.term for dev in self.devs.values()}
        texts = "".join(f"; {term} loss {means['loss']:.4f}" for term, means in found.items() if term not in own)
        of = f"/{first.epochs:g}" if first.epochs else ""
        loss = first.training_loss([*first.past(), line], line["step"])
        return f"epoch {first.epoch(line['step']):g}{of}: training loss {loss:.4f}; dev: {shown}, mean {self.mean(found):.4f}{texts}"

    def rank(self, found: Mapping[str, Any]) -> list[float]:
        return [self.mean(found), -sum(found[dev.term]["loss"] for dev in self.devs.values())]

    def seconds(self, member: MemberModel, precision: Precision, world: World) -> float:
        return sum(exam.seconds(member, precision, world) for exam in self._all)

    def told(self, line: dict, lines: Iterable[dict]) -> dict[str, Any]:
        """Of a line of metrics.jsonl with an evaluation, what result.json keeps."""
        found, step = line["evaluation"], line["step"]
        about = {"step": step, "epoch": self.first.epoch(step), "training_loss": self.first.training_loss(lines, step)}
        return {**about, "mean": self.mean(found), **self.main(found)}
