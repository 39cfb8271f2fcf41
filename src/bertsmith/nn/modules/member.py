"""A member at work: the model and the objective that trains it.  State-dict keys start with `model.` and `objective.`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.modules.apart import reading
from bertsmith.nn.modules.drawn import Draws


class MemberModel(nn.Module):
    draws: Draws | None = None  # how its weights are filled, while they have no memory
    kept: frozenset[str] | None = None  # names of what a step of it holds, where the rest stands elsewhere

    def __init__(self, model: nn.Module, objective: nn.Module):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of each loss term over the batch; the caller divides by counts."""
        return self.objective(self.model, batch)

    def scores(self, batch: Batch) -> dict[str, dict[str, float]]:
        """{term: {loss: sum, correct, count}} over the batch."""
        return self.objective.scores(self.model, batch)

    def logits(self, stream: Stream, at: Tensor, feed: str = "") -> Tensor:
        """What the objective's head says at the flat indices `at` (m,) -> (m, outputs); `feed`: whose head, and whose
        parts of the body, in a mixture."""
        objective = self.objective.of(feed) if feed else self.objective
        with reading(feed):
            return objective.logits(self.model, stream, at)

    def doing(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, which computes with parts of the member: where it is held in slices, these are together for that long."""
        return work()

    def weights(self) -> dict[str, float]:
        return self.objective.weights()


def depths(member: nn.Module, name: str) -> tuple[int, int]:
    """(how deep the parameter `name` of a member stands, how deep its heads do): 0 in the embeddings, i + 1 in layer i, heads above the last."""
    body = getattr(member, "model", None)
    top = getattr(getattr(body, "config", None), "depth", 0) + 1
    if not name.startswith("model."):
        return top, top
    return body.depth_of(name.removeprefix("model.")), top
