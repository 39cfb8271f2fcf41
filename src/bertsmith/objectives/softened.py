"""What a teacher says beside the labels: the loss of a student (Hinton et al. 2015; Liu et al. 2019b for an ensemble of teachers)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.objectives.modules.softened import SoftenedObjective

MAIN, SOFT = "main", "soft"


@dataclass(frozen=True, kw_only=True)
class Softened:
    """The term of `objective` times `hard`, and `soft`, how far its answers are from a teacher's, times 1 - `hard`, of one reading of each text.

    `objective` has one term, and a module whose `softened` tells how far answers of its kind are apart.  A batch has a target `soft` at all
    places, whose labels (m, c) are what the teacher says; the other asks at some of them.  Keys: `objective.main.…`.
    `temperature` divides logits before they are compared, and the soft term is multiplied by its square, so that gradients stay of one size.
    """

    objective: Any
    hard: float = 0.5
    temperature: float = 2.0

    def __post_init__(self):
        require(0 <= self.hard < 1, f"objective.hard: {self.hard} is not in [0, 1)")
        require(self.temperature > 0, f"objective.temperature: {self.temperature} must be above 0")
        terms = [*self.objective.weights()]
        require(len(terms) == 1, f"objective: {', '.join(terms)}: one term is what a teacher speaks to")

    @property
    def pooler(self) -> str:
        return getattr(self.objective, "pooler", "tanh")

    def build(self, model: nn.Module) -> SoftenedObjective:
        from bertsmith.objectives.modules.softened import SoftenedObjective

        return SoftenedObjective(self, model)

    def parameters(self, model: Any) -> int:
        return self.objective.parameters(model)

    def weights(self) -> dict[str, float]:
        ((term, weight),) = self.objective.weights().items()
        return {term: self.hard * weight, SOFT: (1 - self.hard) * weight}

    def alone(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if there had been no teacher."""
        own = f"objective.{MAIN}."
        return {
            f"objective.{name.removeprefix(own)}" if name.startswith(own) else name: x for name, x in weights.items()
        }
