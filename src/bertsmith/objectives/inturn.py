"""A teacher's layers first, then what it says: TinyBERT's two stages on a task (Jiao et al. 2020, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.objectives.distilled import LED
from bertsmith.objectives.softened import MAIN

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.objectives.modules.inturn import InTurnObjective


@dataclass(frozen=True, kw_only=True)
class Taught:
    """In the first `epochs` of a run a student learns what stands in a teacher's layers, by terms with a weight each, which objectives/distilled.py
    describes; what the task asks comes after."""

    epochs: int = 0
    hidden: float = 1.0
    attention: float = 1.0
    relations: float = 0.0
    cosine: float = 0.0
    split: int | None = None  # heads of relations; null: as many as the student's attention has
    layer: int | None = None  # of the teacher, that relations are taken from; null: its last

    TERMS: ClassVar[tuple[str, ...]] = ("hidden", "attention", "relations", "cosine")

    def __post_init__(self):
        for name in ("epochs", *self.TERMS):
            require(getattr(self, name) >= 0, f"taught.{name}: {getattr(self, name)} is negative")
        require(self.split is None or self.split > 0, f"taught.split: {self.split} must be above 0")
        require(bool(self.terms) or not self.epochs, f"taught: {', '.join(self.TERMS)} are all 0; give one a weight")

    @property
    def terms(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self.TERMS if getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class InTurn:
    """The terms of `taught` where a batch asks them, else `objective`.  `teacher`: the width of its states, where the student's differ and are
    compared.  Keys: `objective.main.…`, and `objective.led`, which is for learning alone."""

    objective: Any
    taught: Taught
    teacher: int | None = None

    @property
    def split(self) -> int | None:
        return self.taught.split

    @property
    def layer(self) -> int | None:
        return self.taught.layer

    @property
    def pooler(self) -> str:
        return getattr(self.objective, "pooler", "tanh")

    def build(self, model: nn.Module) -> InTurnObjective:
        from bertsmith.objectives.modules.inturn import InTurnObjective

        return InTurnObjective(self, model)

    def parameters(self, model: Any) -> int:
        return self.objective.parameters(model) + (model.width + 1) * (self.teacher or 0)

    def weights(self) -> dict[str, float]:
        return {**self.taught.terms, **self.objective.weights()}

    def alone(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if there had been no teacher of layers."""
        own, led = f"objective.{MAIN}.", f"objective.{LED}."
        return {
            f"objective.{name.removeprefix(own)}" if name.startswith(own) else name: x
            for name, x in weights.items()
            if not name.startswith(led)
        }
