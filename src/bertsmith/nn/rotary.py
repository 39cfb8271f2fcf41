"""Rotary positions (Su et al. 2021, section 3.2): queries and keys are turned by their places, so that scores know distances alone.

n tokens, m <= n asking, h heads, e head width.  Halves are turned against each other, as in transformers: number i with number i + e/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.positions import Position
    from bertsmith.nn.modules.rotary import RotaryPosition


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """`theta`: the longest wavelength is nearly 2 pi times that; `local`: in layers that see a window only (null: the same; ModernBERT)."""

    theta: float = 10_000.0
    local: float | None = None
    free: ClassVar[tuple[str, ...]] = (
        "theta",
        "local",
    )  # what a model that goes on may have otherwise: no weight has a shape of it

    def __post_init__(self):
        require(self.theta > 1, f"model.positions.theta: {self.theta} must be above 1")
        require(self.local is None or self.local > 1, f"model.positions.local: {self.local} must be above 1, or null")

    def check(self, model: Any) -> None:
        head = model.width // model.heads
        require(head % 2 == 0, f"model.positions: a head's width ({head}) must be even for rotary positions")

    def build(self, model: Any) -> Position:
        from bertsmith.nn.modules.positions import Position

        return Position()

    def build_layer(self, model: Any, layer: int, first: Position | None) -> "RotaryPosition":
        from bertsmith.nn.modules.rotary import RotaryPosition

        near = model.attention.window_of(layer) is not None

        return RotaryPosition(self.local if near and self.local else self.theta)

    def parameters(self, model: Any) -> int:
        return 0
