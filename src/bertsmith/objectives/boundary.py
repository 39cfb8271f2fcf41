"""Which token stood in a span, by the tokens beside it (SpanBERT's span-boundary objective).  m predictions, d width, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require
from bertsmith.nn.body import Body, BodyConfig

if TYPE_CHECKING:
    from bertsmith.objectives.modules.boundary import BoundaryTerm


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """`limit`: places of a span that have a vector; `data.boundary.Boundaries` asks for no more of them."""

    name: str = "boundary"
    limit: int = 20
    positions: int = 200  # width of a place's vector
    weight: float = 1.0
    columns: ClassVar[int] = 3  # the token, left of its span, right of it

    def __post_init__(self):
        require(self.limit > 0, f"objective: {self.name}.limit: {self.limit} must be above 0")
        require(self.positions > 0, f"objective: {self.name}.positions: {self.positions} must be above 0")

    def build(self, model: Body) -> "BoundaryTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.boundary import BoundaryTerm

        return initialise(BoundaryTerm(model, self.limit, self.positions))

    def parameters(self, model: BodyConfig) -> int:
        width, inner, norm = model.width, model.inner, model.norm
        dense = (2 * width + self.positions + 1) * width + (width + 1) * inner
        return self.limit * self.positions + dense + norm.parameters(width) + norm.parameters(inner) + model.vocab
