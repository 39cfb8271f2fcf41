"""Which token stood in a span, by the tokens beside it (SpanBERT's span-boundary objective).  m predictions, d width, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bertsmith.config import require
from bertsmith.nn.blocks import initialise
from bertsmith.nn.body import Body
from bertsmith.nn.boundary import BoundaryHead


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
        return initialise(BoundaryTerm(model, self.limit, self.positions))


class BoundaryTerm(BoundaryHead):
    def __init__(self, model: Body, limit: int, positions: int):
        config = model.config
        super().__init__(config.width, config.inner, config.vocab, limit, positions, config.activation, config.norm)

    def logits(self, hidden: Tensor, model: Body, offset: Tensor) -> Tensor:
        """hidden (m, 2, d) left and right of the span, offset (m,) of the token from the left one -> (m, V)."""
        return self(hidden, offset, model.tokens.weight)
