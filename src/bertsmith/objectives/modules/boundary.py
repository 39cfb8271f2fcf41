"""SpanBERT's head as a term of an objective.  m predictions, V vocabulary."""

from __future__ import annotations

from torch import Tensor

from bertsmith.nn.body import Body
from bertsmith.nn.modules.boundary import BoundaryHead


class BoundaryTerm(BoundaryHead):
    def __init__(self, model: Body, limit: int, positions: int):
        config = model.config
        super().__init__(config.width, config.inner, config.vocab, limit, positions, config.activation, config.norm)

    def logits(self, hidden: Tensor, model: Body, offset: Tensor) -> Tensor:
        """hidden (m, 2, d) left and right of the span, offset (m,) of the token from the left one -> (m, V)."""
        return self(hidden, offset, model.tokens.weight)
