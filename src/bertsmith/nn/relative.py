"""Relative positions (Dai et al. 2019, section 3.3; Yang et al. 2019, section 2.5): how far a key stands from who asks, and in which segment.

score(q, k) = (q + u) k + (q + v) W r(distance) + (q + w) s(same segment?), each by e ** -0.5.  Every layer has its own W, u, v, w, s.
b sequences, n tokens, D distances, d width, h heads, e head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.positions import Position
    from bertsmith.nn.modules.relative import RelativePosition


@dataclass(frozen=True, kw_only=True)
class Relative:
    """`segments`: XLNet's bias for tokens of the same and of another segment.  `tied`: u and v are the same in all layers.

    `clamp`: distances beyond it count as it (null: none do).  `ahead`: whether tokens see what comes after them.
    """

    segments: bool = False
    tied: bool = False
    clamp: int | None = None
    ahead: bool = True

    def __post_init__(self):
        require(self.clamp is None or self.clamp > 0, f"model.positions.clamp: {self.clamp} must be above 0, or null")

    def build(self, model: Any) -> Position:
        from bertsmith.nn.modules.positions import Position

        return Position()

    def build_layer(self, model: Any, layer: int, first: Position | None) -> "RelativePosition":
        from bertsmith.nn.modules.relative import RelativePosition

        return RelativePosition(self, model, first if self.tied else None)

    def parameters(self, model: Any) -> int:
        width = model.width
        own = width * width + (3 * width if self.segments else 0)
        return model.layers * own + 2 * width * (1 if self.tied else model.layers)
