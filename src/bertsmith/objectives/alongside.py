"""What a trunk was pre-trained on beside what it is fine-tuned to, over the same texts (Radford et al. 2018, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.objectives.modules.alongside import AlongsideObjective

MAIN = "main"


@dataclass(frozen=True, kw_only=True)
class Alongside:
    """The terms of `objective`, and those of `auxiliary` times `weight`, asked of one reading of each text.

    Keys: `objective.main.…` and `objective.auxiliary.…`.  A model that is used is `objective` alone: the other is for learning.
    """

    objective: Any
    auxiliary: Any
    weight: float = 0.5

    def __post_init__(self):
        require(self.weight > 0, f"objective.weight: {self.weight} must be above 0")
        both = self.objective.weights().keys() & self.auxiliary.weights().keys()
        require(not both, f"objective.auxiliary: {', '.join(both)}: is asked by the objective itself")

    def build(self, model: nn.Module) -> AlongsideObjective:
        from bertsmith.objectives.modules.alongside import AlongsideObjective

        return AlongsideObjective(self, model)

    def parameters(self, model: Any) -> int:
        return self.objective.parameters(model) + self.auxiliary.parameters(model)

    def weights(self) -> dict[str, float]:
        beside = {term: self.weight * weight for term, weight in self.auxiliary.weights().items()}
        return {**self.objective.weights(), **beside}

    def alone(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if `objective` were all that it is asked."""
        own = f"objective.{MAIN}."
        return {
            f"objective.{name.removeprefix(own)}" if name.startswith(own) else name: x
            for name, x in weights.items()
            if name.startswith(("model.", own))
        }
