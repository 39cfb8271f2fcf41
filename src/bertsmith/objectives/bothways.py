"""Two language models that share their softmax (Peters et al. 2018, section 3.1): the next token from the left half of a state, the one before
from the right half.

m predictions, V vocabulary, d width of one direction.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.nn.body import Body
from bertsmith.objectives.predict import Tokens

if TYPE_CHECKING:
    from bertsmith.objectives.modules.bothways import BothWaysPrediction

BACKWARD = "backward"  # the term of those that are asked for by the one behind (data/bothways.py)


@dataclass(frozen=True, kw_only=True)
class BothWaysPredict:
    """`head` answers "token" and "backward", whose losses are added.  `sampled`: so many words beside the right one are told apart from it in
    training, drawn by the order of frequency (Jean et al. 2015; log-uniform, as TensorFlow draws them); 0: all.  Exams ask among all."""

    head: Any = field(default_factory=lambda: Tokens(transform=False, tied=False))
    sampled: int = 0
    pooler: str = "tanh"

    def __post_init__(self):
        require(self.sampled >= 0, f"objective.sampled: {self.sampled} is negative; 0 = the whole vocabulary")

    @property
    def heads(self) -> tuple[Any, ...]:
        return (self.head,)

    def build(self, model: Body) -> "BothWaysPrediction":
        from bertsmith.objectives.modules.bothways import BothWaysPrediction

        self.check(model.config)
        return BothWaysPrediction(self, model)

    def check(self, model: Any) -> None:
        require(
            getattr(model, "directions", None) == "apart",
            "model.directions: each of two language models must know of one side alone; take model.directions=apart",
        )

    def weights(self) -> dict[str, float]:
        return {self.head.name: self.head.weight, BACKWARD: self.head.weight}

    def parameters(self, model: Any) -> int:
        return self.head.parameters(half(model))


def half(model: Any) -> Any:
    """One of the two stacks, as a configuration."""
    return replace(model, directions="forward")
