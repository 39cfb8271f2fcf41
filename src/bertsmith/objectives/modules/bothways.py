"""What each half of a state says.  m predictions, V vocabulary, k words drawn, d width of one direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import Stream, Target
from bertsmith.nn.body import Body
from bertsmith.nn.modules.losses import cross_entropy
from bertsmith.objectives.bothways import BACKWARD, half
from bertsmith.objectives.modules.predict import Prediction

if TYPE_CHECKING:
    from bertsmith.objectives.bothways import BothWaysPredict


class Half:
    """A body of one of the two stacks, as the head is built for."""

    def __init__(self, model: Body):
        self.config, self.tokens = half(model.config), model.tokens


class BothWaysPrediction(Prediction):
    config: BothWaysPredict

    def __init__(self, config: BothWaysPredict, model: Body):
        super().__init__(config, Half(model))
        self.answers = {config.head.name: config.head.name, BACKWARD: config.head.name}

    def _hidden(
        self, model: Body, stream: Stream, places: dict[str, Tensor], output: Stream | None = None
    ) -> dict[str, Tensor]:
        found = super()._hidden(model, stream, places, output)
        return {name: hidden.chunk(2, -1)[name == BACKWARD] for name, hidden in found.items()}

    def _loss(self, name: str, hidden: Tensor, model: Body, stream: Stream, target: Target) -> Tensor:
        if not (self.training and self.config.sampled):
            return super()._loss(name, hidden, model, stream, target)
        head: Any = self.get_submodule(self.answers[name])
        table = (model.tokens if head.own is None else head.own).weight
        return sampled_loss(hidden, target.labels, table, head.bias, self.config.sampled)


def sampled_loss(hidden: Tensor, labels: Tensor, table: Tensor, bias: Tensor | None, count: int) -> Tensor:
    """The sum over `labels` (m,), those below 0 aside, of the cross-entropy among the right word and `count` drawn ones, whose logits are less
    the log of how often they are drawn, so that what they add up to is in the mean what all other words do; a drawn one that is the right one is
    none."""
    vocab = len(table)
    drawn = torch.rand(count, device=hidden.device).mul(math.log(vocab + 1)).exp().long().sub(1).clamp(0, vocab - 1)
    bias = table.new_zeros(vocab) if bias is None else bias
    right = labels.clamp(min=0)
    own = (hidden * F.embedding(right, table)).sum(-1) + bias[right]
    others = F.linear(hidden, F.embedding(drawn, table), bias[drawn]) - expected(drawn, count, vocab)
    others = others.masked_fill(drawn == right[:, None], -torch.inf)
    logits = torch.cat([own[:, None], others], 1)
    return cross_entropy(logits, labels.clamp(max=0)).sum()


def expected(words: Tensor, count: int, vocab: int) -> Tensor:
    """The log of how often each of `words` is among `count` drawn ones, in the mean: p(i) = log((i + 2) / (i + 1)) / log(V + 1)."""
    rank = words.float()
    return (count * ((rank + 2) / (rank + 1)).log() / math.log(vocab + 1)).log()
