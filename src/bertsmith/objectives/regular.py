"""Language models whose states are kept small and slow (Merity et al. 2018, section 4.3): two terms beside what the heads ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require
from bertsmith.nn.body import Body
from bertsmith.objectives.predict import Predict

if TYPE_CHECKING:
    from bertsmith.objectives.modules.regular import RegularPrediction

ACTIVATION, TEMPORAL = "activation", "temporal"


@dataclass(frozen=True, kw_only=True)
class Regular(Predict):
    """`activation` times the mean square of what the last layer says behind dropout (AR), `temporal` times that of what changes of it, before
    dropout, from one token to the next (TAR)."""

    activation: float = 2.0
    temporal: float = 1.0
    again: ClassVar[tuple[str, ...]] = (ACTIVATION, TEMPORAL)

    def __post_init__(self):
        super().__post_init__()
        for name in self.again:
            require(getattr(self, name) >= 0, f"objective.{name}: {getattr(self, name)} is negative; 0 = none")

    def weights(self) -> dict[str, float]:
        return super().weights() | {name: getattr(self, name) for name in self.again}

    def build(self, model: Body) -> "RegularPrediction":
        from bertsmith.objectives.modules.regular import RegularPrediction

        require(
            hasattr(model, "said"),
            "objective: activation and temporal are of a recurrent stack; take objective.type=bertsmith.objectives.predict:Predict",
        )
        return RegularPrediction(self, model)
