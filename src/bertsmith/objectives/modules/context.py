"""Which sentences stand beside this one?  m sentences, d what an encoder says of one.  Losses are sums over the m, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.objectives.context import SENTENCE
from bertsmith.objectives.modules.supervised import pooled_at

if TYPE_CHECKING:
    from bertsmith.objectives.context import Context


class InContextObjective(nn.Module):
    """No parameters of its own.  `at` (m, 1): where a sentence is read; `labels` (m, 2): its document and its number."""

    term = SENTENCE
    asks = 2  # columns of labels

    def __init__(self, config: Context):
        super().__init__()
        self.config, self.joint = config, True
        self.columns = {SENTENCE: 1}

    def weights(self) -> dict[str, float]:
        return {SENTENCE: 1.0}

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (p,): flat indices, each in a text of its own -> (p, 2 d), what both encoders say of it."""
        return pooled_at(model, stream, at, "cls")

    def vectors(self, model: Body, batch: Batch) -> Tensor:
        """(m, 1, 2 d) float32."""
        at = batch.targets[SENTENCE].at
        return self.logits(model, batch.input, at.flatten()).float().unflatten(0, at.shape)

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{"sentence": the sum}; where the gradient at the vectors is known, what has that gradient."""
        target, found = batch.targets[SENTENCE], self.vectors(model, batch)
        return {SENTENCE: self.loss(found, target.labels) if target.pull is None else (found * target.pull).sum()}

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """m times the mean over the sentences that have a neighbour among all; those whose label is IGNORE are not there."""
        vectors, labels = _there(vectors, labels)
        with torch.autocast(vectors.device.type, enabled=False):
            scores, right = self.judged(vectors, labels)
            asked = right.any(1)
            if not asked.any():
                return vectors.sum() * 0
            shares = right[asked].to(scores.dtype) / right[asked].sum(1, keepdim=True)
            found = torch.where(right[asked], scores[asked].log_softmax(1), 0.0)
            return -(shares * found).sum() * (len(labels) / int(asked.sum()))

    def judged(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(m, m) how well candidate j stands beside sentence i, and whether it does.  What is the same sentence, read twice, is itself."""
        first, second = vectors[:, 0].chunk(2, 1)
        apart = (labels[:, None, 1] - labels[None, :, 1]).abs()
        same = apart == 0
        scores = (first @ second.T).masked_fill(same, 0.0 if self.config.itself == "zero" else -torch.inf)
        document = labels[:, None, 0] == labels[None, :, 0]
        return scores, document & ~same & (apart <= self.config.window)

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"sentence": {loss: sum, correct: best candidates that are a neighbour, count: number}}, of sentences of this batch among
        themselves."""
        target = batch.targets[SENTENCE]
        vectors, labels = _there(self.vectors(model, batch), target.labels)
        said, right = self.judged(vectors, labels)
        asked = right.any(1)
        best = said.masked_fill(labels[:, None, 1] == labels[None, :, 1], -torch.inf).argmax(1, keepdim=True)
        correct = int((right.gather(1, best)[:, 0] & asked).sum()) * len(labels) / max(1, int(asked.sum()))
        return {SENTENCE: {"loss": self.loss(vectors, labels).item(), "correct": correct, "count": len(labels)}}


def _there(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(m, 1, 2 d) and (m, 2) of what a question was asked of."""
    real = labels.reshape(len(labels), -1)[:, 0] != IGNORE
    return vectors[real], labels.reshape(len(labels), -1)[real].expand(-1, InContextObjective.asks)
