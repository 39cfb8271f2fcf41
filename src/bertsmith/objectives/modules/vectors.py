"""Texts as vectors.  m rows of k texts, width d, c candidates.  Losses are sums over the rows, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.objectives.modules.supervised import pooled_at
from bertsmith.objectives.vectors import PAIRED, TERM

if TYPE_CHECKING:
    from bertsmith.objectives.vectors import Vectors


class VectorsObjective(nn.Module):
    """No parameters of its own.  `at` (m, k): where each text of a row is read; `labels` (m,) a number, or (m, k) which texts they are."""

    term = TERM

    def __init__(self, config: Vectors):
        super().__init__()
        self.config = config
        self.joint = config.joint
        self.columns = {TERM: config.parts}  # of `Target.at`
        self.asks = config.parts if config.loss in PAIRED else 1  # columns of labels

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Nothing: there is no head."""
        return ()

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (p,): flat indices, each in a text of its own -> (p, d), the texts' vectors."""
        return pooled_at(model, stream, at, self.config.pool)

    def vectors(self, model: Body, batch: Batch) -> Tensor:
        """(m, k, d) float32."""
        at = batch.targets[TERM].at
        return self.logits(model, batch.input, at.flatten()).float().unflatten(0, at.shape)

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{"vector": the sum}; where the gradient at the vectors is known, what has that gradient."""
        target, found = batch.targets[TERM], self.vectors(model, batch)
        return {TERM: self.loss(found, target.labels) if target.pull is None else (found * target.pull).sum()}

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The sum over rows, and over the sizes; rows whose label is IGNORE are not there."""
        real = labels.reshape(len(labels), -1)[:, 0] != IGNORE
        vectors, labels = vectors[real], labels[real]
        if not len(vectors):
            return vectors.sum()
        sizes = (vectors.shape[-1], *self.config.sizes)
        with torch.autocast(vectors.device.type, enabled=False):
            return torch.stack([self._loss(vectors[..., :size], labels) for size in sizes]).sum()

    def _loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        config, texts = self.config, vectors.unbind(1)
        if config.loss == "triplet":
            near, far = (torch.linalg.vector_norm(texts[0] - other, dim=1) for other in texts[1:])
            return F.relu(near - far + config.margin).sum()
        texts = [F.normalize(text, dim=1) for text in texts]
        if config.loss == "cosine":
            return ((texts[0] * texts[1]).sum(1) - labels).square().sum()
        if config.loss == "cosent":
            return len(labels) * ranked((texts[0] * texts[1]).sum(1), labels, config.scale)
        scores, others = config.scale * texts[0] @ torch.cat(texts[1:]).T, negatives(labels)
        asked = belonging(scores, others)
        if config.loss == "negatives":
            return asked
        back = slice(0, len(labels))
        return (asked + belonging(scores[:, back].T, others[:, back].T)) / 2

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"vector": {loss: sum, count: number}}, of the rows of this batch among themselves."""
        target = batch.targets[TERM]
        loss = self.loss(self.vectors(model, batch), target.labels)
        return {TERM: {"loss": loss.item(), "count": len(target)}}


def ranked(cosines: Tensor, labels: Tensor, scale: float) -> Tensor:
    """CoSENT (Su 2022): log(1 + sum of exp(scale (cosine i - cosine j)) over i, j with label i < label j); cosines, labels (m,)."""
    apart = scale * (cosines[:, None] - cosines[None, :])
    wrong = apart.masked_fill(labels[:, None] >= labels[None, :], -torch.inf)
    return torch.cat([wrong.flatten(), wrong.new_zeros(1)]).logsumexp(0)


def negatives(texts: Tensor) -> Tensor:
    """texts (m, k), which texts the rows have -> (m, c) bool: whether candidate j, the second texts of all rows and then the third ones,
    does not belong to the first text of row i: it is neither that text, nor its second, nor the second of a row with the same first."""
    first, second = texts[:, :1], texts[:, 1:2]
    candidates = texts[:, 1:].T.reshape(1, -1)
    belongs = (candidates == first) | (candidates == second)
    belongs[:, : len(texts)] |= first == first.T
    return ~belongs


def belonging(scores: Tensor, others: Tensor) -> Tensor:
    """The sum over m of the cross-entropy of row i's own candidate, number i, among those that do not belong to it; scores, others (m, c)."""
    own = torch.arange(len(scores), device=scores.device)
    among = others.clone()
    among[own, own] = True
    return F.cross_entropy(scores.masked_fill(~among, -torch.inf), own, reduction="sum")
