"""Hidden states to frames, and what they lose.  m asked frames of b numbers, d width."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import ACTIVATIONS

LOSSES = {"l1": F.l1_loss, "huber": F.huber_loss}


class FrameTerm(nn.Module):
    def __init__(self, config: Any, loss: str):
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = config.norm.build(config.width)
        self.activation = ACTIVATIONS[config.activation]
        self.out = nn.Linear(config.width, config.vocab)
        self.loss = LOSSES[loss]

    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (m, d) -> (m, b): the frames themselves."""
        return self.out(self.norm(self.activation(self.dense(hidden))))

    def losses(self, hidden: Tensor, labels: Tensor, model: Body) -> Tensor:
        """The sum over the frames; filler asks nothing."""
        asked = (labels != IGNORE).any(1, keepdim=True)
        said = self.logits(hidden, model)
        wide = torch.promote_types(torch.float32, said.dtype)
        return self._each(torch.where(asked, said, 0).to(wide), torch.where(asked, labels, 0).to(wide)).sum()

    def _each(self, said: Tensor, labels: Tensor) -> Tensor:
        """(m,)"""
        return self.loss(said, labels, reduction="none").mean(1)

    def scored(self, said: Tensor, labels: Tensor) -> dict[str, float]:
        """{loss: sum, mean: the sum that the mean of the utterance, 0, would lose, count}."""
        labels = labels.float()
        mean = self._each(torch.zeros_like(labels), labels).sum()
        return {"loss": self._each(said.float(), labels).sum().item(), "mean": mean.item(), "count": len(labels)}
