"""Several objectives over one trunk: a batch is asked what its feed's part asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.data.batch import Batch, term_of
from bertsmith.nn.apart import module_of
from bertsmith.nn.modules.apart import reading

if TYPE_CHECKING:
    from bertsmith.objectives.mixed import Mixed


class MixedObjective(nn.Module):
    def __init__(self, config: Mixed, model: nn.Module):
        super().__init__()
        self.config = config
        for part in config.parts:
            if part.objective is not None:
                self.add_module(module_of(part.feed), part.objective.build(model))

    def of(self, feed: str) -> Any:
        """The objective of one feed, its terms under their own names."""
        (part,) = (part for part in self.config.parts if part.feed == feed)
        return self.get_submodule(module_of(part.of or feed))

    @property
    def columns(self) -> dict[str, int]:
        return {
            term_of(part.feed, term): count
            for part in self.config.parts
            for term, count in getattr(self.of(part.feed), "columns", {}).items()
        }

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{feed.term: sum of its losses} of the batch's own feed."""
        with reading(batch.feed):
            found = self.of(batch.feed)(model, batch)
        return {term_of(batch.feed, term): value for term, value in found.items()}

    def scores(self, model: nn.Module, batch: Batch) -> dict[str, dict[str, float]]:
        with reading(batch.feed):
            found = self.of(batch.feed).scores(model, batch)
        return {term_of(batch.feed, term): value for term, value in found.items()}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Each part takes over what it can of a pre-trained member's state dict: its own heads, or a pooler.  The names used."""
        used: list[str] = []
        for part in self.children():
            if hasattr(part, "inherit"):
                used += part.inherit(state)
                continue
            own = part.state_dict()
            found = {name: f"objective.{name}" for name in own if f"objective.{name}" in state}
            part.load_state_dict({name: state[theirs] for name, theirs in found.items()}, strict=False)
            used += found.values()
        return tuple(used)
