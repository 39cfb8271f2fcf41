"""Two texts that are read apart.  m pairs, d width of a vector."""

from __future__ import annotations

import torch
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.body import Body
from bertsmith.objectives.modules.supervised import Classification


class Compared(Classification):
    """`at` (m, 2): where the first and the second text of each pair are read.  What is said of a pair is said by halves, one at either text."""

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Nothing: no member is pre-trained with such a head."""
        return ()

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (2 m,): flat indices, those of a pair one behind the other -> (2 m, classes)."""
        first, second = self.vectors(model, stream, at).unflatten(0, (-1, 2)).unbind(1)
        features = torch.cat([first, second, (first - second).abs(), first * second], 1)
        return (self.head(features) / 2).repeat_interleave(2, 0)
