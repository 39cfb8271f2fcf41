"""An objective with a teacher's answers beside its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.objectives.softened import MAIN, SOFT

if TYPE_CHECKING:
    from bertsmith.objectives.softened import Softened


class SoftenedObjective(nn.Module):
    def __init__(self, config: Softened, model: Body):
        super().__init__()
        self.config = config
        self.add_module(MAIN, config.objective.build(model))

    @property
    def inner(self) -> Any:
        return self.get_submodule(MAIN)

    @property
    def columns(self) -> dict[str, int]:
        own = getattr(self.inner, "columns", {})
        return {**own, SOFT: own.get(self.inner.term, 1)}

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{the objective's term, soft: sums of losses}; the head answers once."""
        main, soft = self.inner, batch.targets[SOFT]
        logits = main.added(model, batch.input, soft.at)
        if soft.labels.dim() == 1:  # asked of nothing
            return {main.term: logits.float().sum() * 0, SOFT: logits.float().sum() * 0}
        apart = main.softened(logits, soft.labels, self.config.temperature)
        target = batch.asked(main.term)
        own = logits[torch.searchsorted(soft.at[:, 0].contiguous(), target.at[:, 0].contiguous())]
        return {main.term: main.loss(own, target.labels), SOFT: apart}

    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        return self.inner.scores(model, batch)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        return self.inner.logits(model, stream, at)

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        return self.inner.inherit(state)
