"""TransE (Bordes et al. 2013): a relation is a step from its head to its tail, and a true triple ends nearer than a corrupted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bertsmith.config import require
from bertsmith.nn.body import Body, BodyConfig

if TYPE_CHECKING:
    from bertsmith.objectives.modules.translation import TranslationObjective

TERM = "triple"


@dataclass(frozen=True, kw_only=True)
class Translation:
    """max(0, margin + |head + relation - tail| - the same of the corrupted triple), equation 1.  `distance`: the sum of the absolute
    differences (1), or the root of that of their squares (2)."""

    margin: float = 1.0
    distance: Literal[1, 2] = 1

    def __post_init__(self):
        require(self.margin > 0, f"objective.margin: {self.margin} must be above 0")
        require(self.distance in (1, 2), f"objective.distance: {self.distance} is neither 1 nor 2")

    def build(self, model: Body) -> TranslationObjective:
        from bertsmith.objectives.modules.translation import TranslationObjective

        return TranslationObjective(self)

    def parameters(self, model: BodyConfig) -> int:
        return 0

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}
