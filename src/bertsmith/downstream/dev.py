"""The dev file as an exam: scores without intervals while a fine-tuning works, which choose its step, and with them at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from bertsmith.data.batch import term_of
from bertsmith.data.loader import never
from bertsmith.downstream.answering import BUDGET, hearing, said_at, values_of
from bertsmith.errors import NumericsError
from bertsmith.nn.modules.member import MemberModel
from bertsmith.tasks.breakdown import FEW
from bertsmith.tasks.kinds import Kind
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.sequences import Asked, Encoded
from bertsmith.tasks.written_scores import PERCENT
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.precision import Precision


class Dev:
    """float32 'highest', so that `bertsmith evaluate` gives the same numbers.  `steps`: updates of an epoch; `times`: exams in one, 1/2 = one
    after every second.

    `begin`: updates that learn something else, and are not examined.  `over(member)`: the member that reads `data`, where that is not the text itself; `feed`: the task's name in a mixture.
    """

    def __init__(
        self,
        kind: Kind,
        known: Labels,
        rows: Any,
        targets: Any,
        data: Encoded,
        place: torch.device,
        *,
        steps: int,
        times: float = 1,
        epochs: float = 0,
        over: Callable[[MemberModel], MemberModel] = lambda member: member,
        feed: str = "",
        begin: int = 0,
    ):
        self.kind, self.known, self.rows, self.targets, self.data = kind, known, rows, targets, data
        self.asked: Asked = kind.asked(data, targets)
        self.exact, self.over, self.epochs = Precision.exact(place), over, epochs
        self.feed, self.term = feed, term_of(feed, kind.term)
        # The lines of metrics.jsonl so far, where this process has them.
        self.past: Callable[[], Iterable[dict]] = tuple
        self.begin = begin
        self.steps, self._period = steps, steps * round(1 / times) if times < 1 else steps
        self._at = {max(1, round(number * steps / times)) for number in range(1, max(1, round(times)) + 1)}

    @property
    def notes(self) -> list[str]:
        """What a user should know before it begins."""
        return []

    @property
    def every(self) -> float:
        return self._period / len(self._at)

    def due(self, step: int) -> bool:
        return step > self.begin and (step - 1) % self._period + 1 in self._at

    def hold(self, member: MemberModel, precision: Precision, world: World, stop: Callable[[], bool]) -> dict | None:
        training = member.training
        judged = self.judged(member, world, stop)
        member.train(training)
        if judged is None:
            return None
        said, known, loss = judged
        if not math.isfinite(loss):
            raise NumericsError(
                f"dev file: {self.term}: loss {loss} is not finite; a lower schedule.lr helps most often"
            )
        scores = self.kind.score(self.targets, said, known, resamples=0)
        found = {name: score["value"] for name, score in scores.items()}
        return {self.term: {"loss": loss, **found, "count": len(self.rows)}}

    def said(self, line: dict) -> str:
        found = line["evaluation"][self.term]
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "count")
        of = f"/{self.epochs:g}" if self.epochs else ""
        loss = self.training_loss([*self.past(), line], line["step"])
        return f"epoch {self.epoch(line['step']):g}{of}: training loss {loss:.4f}; dev: {shown}"

    def training_loss(self, lines: Iterable[dict], step: int) -> float:
        """The mean over the updates of the epoch so far."""
        first = (step - 1) // self.steps * self.steps + 1
        losses = {line["step"]: line["loss"] for line in lines if first <= line["step"] <= step}
        return math.fsum(losses.values()) / len(losses)

    def epoch(self, step: int) -> float:
        """Epochs that were read by the end of an update; a whole number at the end of one."""
        whole, rest = divmod(step, self.steps)
        return whole if not rest else round(step / self.steps, 3)

    @property
    def whole(self) -> float:
        """What the main score of an answer without a fault is."""
        return 100.0 if self.kind.best(self.known) in PERCENT else 1.0

    def rank(self, found: dict) -> list[float]:
        scores = found[self.term]
        return [scores[self.kind.best(self.known)], -scores["loss"]]

    def seconds(self, member: MemberModel, precision: Precision, world: World) -> float:
        """By one of the passes, of middling length."""
        groups = self.data.by_length(BUDGET)
        which, start = groups[len(groups) // 2], time.monotonic()
        reads = self.over(member).eval()
        with torch.no_grad(), self.exact.policy():
            said_at(reads, self.data, which, self.exact.device, self.feed)
        return (time.monotonic() - start) * math.ceil(len(groups) / world.size)

    def judged(
        self, member: MemberModel, world: World = ALONE, stop: Callable[[], bool] = never
    ) -> tuple[Any, Labels, float] | None:
        """What is said, the labels with what is chosen on the dev file, the loss; None if `stop()` turned true on the way."""
        values = values_of(self.over(member), self.data, self.exact, world=world, feed=self.feed, stop=stop)
        if values is None:
            return None
        kind = hearing(self.kind, member, self.feed)
        said = kind.said(self.data, self.rows, values)
        known = kind.settled(self.targets, said, self.known)
        return said, known, kind.loss(self.data, self.asked, values)

    def said_of(self, member: MemberModel, world: World = ALONE) -> tuple[Any, Labels]:
        """What is said, and the labels with what was chosen."""
        judged = self.judged(member, world)
        assert judged is not None  # nothing stops it
        return judged[0], judged[1]

    def scores(self, said: Any, known: Labels) -> dict[str, Any]:
        """For result.json: scores with 95 % intervals, class by class, and what is said to all where one thing is."""
        only = self.kind.only(said, known, self.targets)
        constant = {"label": only, "count": len(said), "of": self.kind.units}
        return {
            "dev": self.kind.score(self.targets, said, known),
            **self.kind.breakdown(self.targets, said, known),
            **({} if only is None or len(said) < FEW else {"says_only": constant}),
        }
