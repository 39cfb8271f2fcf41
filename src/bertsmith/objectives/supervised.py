"""Labelled sequences: classes and numbers.  s labelled sequences, d width.  The term is `label`; losses are sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.blocks import initialise, pick
from bertsmith.nn.heads import PairHead
from bertsmith.nn.transformer import Transformer
from bertsmith.objectives.predict import loss_sum, score

TERM = "label"


@dataclass(frozen=True, kw_only=True)
class Classify:
    """One class for a sequence.  `pool`: from [CLS], or from the mean over the sequence's tokens."""

    classes: int
    dropout: float = 0.1
    pool: Literal["cls", "mean"] = "cls"

    def __post_init__(self):
        require(self.classes > 1, f"objective.classes: {self.classes} is below 2")
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")

    def build(self, model: Transformer) -> "Classification":
        return Classification(model.config.width, self.classes, self.dropout, self.pool)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


@dataclass(frozen=True, kw_only=True)
class Regress:
    """One number for a sequence, by squared error."""

    dropout: float = 0.1
    pool: Literal["cls", "mean"] = "cls"

    def __post_init__(self):
        require(0 <= self.dropout < 1, f"objective.dropout: {self.dropout} is not in [0, 1)")

    def build(self, model: Transformer) -> "Regression":
        return Regression(model.config.width, 1, self.dropout, self.pool)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


class Classification(nn.Module):
    """Pooler, dropout, linear; keys `objective.label.pooler.dense.weight`, `objective.label.out.weight`, …"""

    def __init__(self, width: int, outputs: int, dropout: float, pool: str):
        super().__init__()
        self.pool = pool
        self.label = initialise(PairHead(width, outputs, dropout))

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Takes over the pooler of a pre-trained member's state dict (`objective.<term>.pooler.*`); returns the names used, if any.

        A mean over tokens is not what that pooler was trained on, so that `pool="mean"` starts afresh.
        """
        found = {
            name.rpartition("pooler.")[2]: name
            for name in state
            if name.startswith("objective.") and ".pooler." in name
        }
        if not found or self.pool != "cls":
            return ()
        self.label.pooler.load_state_dict({ours: state[theirs] for ours, theirs in found.items()})
        return tuple(found.values())

    def logits(self, model: Transformer, stream: Stream, at: Tensor) -> Tensor:
        """`at` (s,): the flat index of each sequence's [CLS], in any order -> (s, classes), or (s, 1) for a regression."""
        if self.pool == "cls":
            read, where = torch.unique(at, return_inverse=True)
            return self.label(pick(model(stream, read), where))
        means = torch.stack([hidden.mean(0) for hidden in model(stream).split(stream.lengths)])
        ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
        return self.label(pick(means, torch.searchsorted(ends, at, right=True)))

    def forward(self, model: Transformer, batch: Batch) -> dict[str, Tensor]:
        """{"label": sum of its losses}."""
        target = batch.targets[TERM]
        return {TERM: self.loss(self.logits(model, batch.input, target.at[:, 0]), target.labels)}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return loss_sum(logits, labels)

    @torch.no_grad()
    def scores(self, model: Transformer, batch: Batch) -> dict[str, dict[str, float]]:
        """{"label": {loss: sum, correct: number, count: number}}."""
        target = batch.targets[TERM]
        return {TERM: score(self.logits(model, batch.input, target.at[:, 0]), target.labels)}


class Regression(Classification):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(logits[:, 0].float(), labels.float(), reduction="sum")

    @torch.no_grad()
    def scores(self, model: Transformer, batch: Batch) -> dict[str, dict[str, float]]:
        """{"label": {loss: sum of squared errors, count: number}}."""
        target = batch.targets[TERM]
        loss = self.loss(self.logits(model, batch.input, target.at[:, 0]), target.labels)
        return {TERM: {"loss": loss.item(), "count": len(target)}}
