"""A head that reads several layers of a trunk: side by side (Devlin et al. 2019, table 7), or mixed (Peters et al. 2018, equation 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require
from bertsmith.nn.body import outer

if TYPE_CHECKING:
    from torch import nn

    from bertsmith.objectives.modules.layers import LayersObjective

MAIN = "main"


class Wide:
    """A body's configuration, with the width of what a head reads, and of its summary."""

    def __init__(self, of: Any, width: int, read: int):
        self._of, self.width, self.outer = of, width, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


@dataclass(frozen=True, kw_only=True)
class OverLayers:
    """`objective` over `layers` of the trunk, 0 the embedding.  side: one state beside the other, in that order; mix: their sum by the softmax
    of a weight each, times a scale, which are learned with the head and begin as the mean.

    Keys: `objective.main.…`, `objective.mix.weights`, `objective.mix.scale`.
    """

    objective: Any
    layers: tuple[int, ...]
    how: Literal["side", "mix"] = "side"

    def __post_init__(self):
        require(bool(self.layers), "objective.layers: none is read; name some, 0 is the embedding")

    def read(self, model: Any) -> Wide:
        """The configuration that the head sees."""
        times = len(self.layers) if self.how == "side" else 1
        return Wide(model, model.width * times, outer(model) * times)

    def build(self, model: nn.Module) -> LayersObjective:
        from bertsmith.objectives.modules.layers import LayersObjective

        return LayersObjective(self, model)

    def parameters(self, model: Any) -> int:
        return self.objective.parameters(self.read(model)) + (len(self.layers) + 1) * (self.how == "mix")

    def weights(self) -> dict[str, float]:
        return self.objective.weights()
