"""What is asked of a model that writes: the next token, by the head that it was pre-trained with, over its whole vocabulary.

m predictions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.errors import InputError
from bertsmith.nn.body import Body
from bertsmith.objectives.predict import Clustered, Predict
from bertsmith.spelling import option

if TYPE_CHECKING:
    from bertsmith.objectives.modules.smoothed import SmoothedPrediction

TERM = "token"


@dataclass(frozen=True, kw_only=True)
class Smoothed(Predict):
    """`smoothing`: the share of each answer that is spread over the whole vocabulary (Szegedy et al. 2016; 0.1 in Lewis et al. 2020)."""

    smoothing: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.smoothing < 1, f"smoothing: {self.smoothing} is not in [0, 1)")
        whole = not any(isinstance(head, Clustered) for head in self.heads)
        require(whole or not self.smoothing, "smoothing: a softmax by clusters has none; set it to 0")

    @classmethod
    def of(cls, objective: Any, smoothing: float) -> Smoothed:
        """The token head of a pre-training.  InputError where there is none."""
        heads = tuple(head for head in getattr(objective, "heads", ()) if head.name == TERM)
        if not heads:
            raise InputError(
                f"{option('task', 'text2text')}: this model has no head that says tokens; give the run that it was fine-tuned from"
            )
        return cls(heads=heads, pooler=getattr(objective, "pooler", "tanh"), smoothing=smoothing)

    def build(self, model: Body) -> "SmoothedPrediction":
        from bertsmith.objectives.modules.smoothed import SmoothedPrediction

        return SmoothedPrediction(self, model)
