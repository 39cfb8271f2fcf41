"""TransE's loss, and how far from the truth all entities stand.  m questions, d width, e entities.  Losses are sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch
from bertsmith.objectives.translation import TERM

if TYPE_CHECKING:
    from bertsmith.objectives.translation import Translation


class TranslationObjective(nn.Module):
    """No parameters: the body's table is all that learns."""

    def __init__(self, config: Translation):
        super().__init__()
        self.config = config

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if TERM not in batch.targets:
            return {}
        near, far, real = self._distances(model, batch)
        return {TERM: (F.relu(self.config.margin + near - far) * real).sum()}

    @torch.no_grad()
    def scores(self, model: Any, batch: Batch) -> dict[str, dict[str, float]]:
        near, far, real = self._distances(model, batch)
        loss = (F.relu(self.config.margin + near - far) * real).sum().item()
        return {TERM: {"loss": loss, "correct": int((near < far)[real].sum()), "count": int(real.sum())}}

    def _distances(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(m,) of the triple as it is and with the other entity, and whether it is asked at all."""
        target, stream = batch.targets[TERM], batch.input
        at, real = target.at[:, 0], target.labels != IGNORE
        place = stream.positions[at]
        parts = (at - place)[:, None] + torch.arange(3, device=at.device)
        head, relation, tail = model(stream)[parts.clamp(max=len(stream.tokens) - 1)].unbind(1)
        other, first = model.vectors(target.labels.clamp(min=0)), (place == 0)[:, None]
        far = self.length(torch.where(first, other, head) + relation - torch.where(first, tail, other))
        return self.length(head + relation - tail), far, real

    def length(self, difference: Tensor) -> Tensor:
        return torch.linalg.vector_norm(difference, self.config.distance, dim=-1)

    @torch.no_grad()
    def from_all(self, model: Any, triples: Tensor, place: int) -> Tensor:
        """(m, e): how far from true each triple (m, 3) would be with each entity as its head (`place` 0) or its tail (2)."""
        entities = model.vectors(torch.arange(model.config.unit, device=triples.device))
        head, relation, tail = (model.vectors(part) for part in triples.unbind(1))
        wanted = head + relation if place else tail - relation
        return torch.cdist(wanted, entities, p=float(self.config.distance))
