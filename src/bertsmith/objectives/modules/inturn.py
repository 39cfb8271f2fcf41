"""A teacher that reads what a student reads, for as long as its layers are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.objectives.modules.distilled import LISTENED, Compares, Read, Teacher
from bertsmith.objectives.softened import MAIN

if TYPE_CHECKING:
    from bertsmith.objectives.inturn import InTurn


class InTurnObjective(Compares):
    def __init__(self, config: InTurn, model: Body):
        super().__init__()
        self.config, self.taught = config, config.taught
        self.add_module(MAIN, config.objective.build(model))
        self.lead(model.config.width)
        self.teacher: Teacher | None = None

    @property
    def inner(self) -> Any:
        return self.get_submodule(MAIN)

    @property
    def columns(self) -> dict[str, int]:
        return {**getattr(self.inner, "columns", {}), **dict.fromkeys(self.taught.terms, 1)}

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}; of layers each is read once by both."""
        asked = [name for name in self.taught.terms if name in batch.targets]
        if not asked:
            return self.inner(model, batch)
        assert self.teacher is not None
        listen, found = any(name in LISTENED for name in asked), {}
        mine = Read.of(model, batch.input, listen)
        with torch.no_grad():
            theirs = Read.of(self.teacher.member.model, batch.input, listen)
        for name in asked:
            target = batch.asked(name)
            each = self.compared(name, mine, theirs, batch.input, target.at[:, 0])
            found[name] = (each * (target.labels != IGNORE)).sum()
        return found

    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        return self.inner.scores(model, batch)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        return self.inner.logits(model, stream, at)

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        return self.inner.inherit(state)
