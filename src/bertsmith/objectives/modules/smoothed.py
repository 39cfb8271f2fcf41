"""The token head that goes on learning.  m predictions, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import Stream, Target
from bertsmith.nn.body import Body
from bertsmith.objectives.modules.predict import Prediction, places

if TYPE_CHECKING:
    from bertsmith.objectives.smoothed import Smoothed


class SmoothedPrediction(Prediction):
    config: Smoothed

    def _loss(self, name: str, hidden: Tensor, model: Body, stream: Stream, target: Target) -> Tensor:
        if not self.config.smoothing:
            return super()._loss(name, hidden, model, stream, target)
        logits = self._said(name, hidden, model, stream, places(target))
        loss = F.cross_entropy(logits, target.labels, reduction="none", label_smoothing=self.config.smoothing)
        return loss.float().sum()

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Takes over the head as it was pre-trained; the names used."""
        found = {name: f"objective.{name}" for name in self.state_dict() if f"objective.{name}" in state}
        self.load_state_dict({ours: state[theirs] for ours, theirs in found.items()})
        return tuple(found.values())
