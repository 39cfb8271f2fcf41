"""Position schemes.  A scheme is a configuration that builds a `Position`; it overrides those of the three hooks that it uses.

`scheme.build(model)` serves the embedding and all layers; `build_layer(model, number, first)`, where a scheme has it, gives each layer one
of its own instead (`first`: that of layer 0).  `model` is a TransformerConfig; `check(model)`, where a scheme has it, refuses one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.positions import LearnedTable, Position, Waves


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One vector for each of `length` places, added to the embedding (BERT)."""

    length: int = 512

    def __post_init__(self):
        require(self.length > 0, f"model.positions.length: {self.length} must be above 0")

    def build(self, model: Any) -> "LearnedTable":
        from bertsmith.nn.modules.positions import LearnedTable

        return LearnedTable(self.length, model.placed)

    def parameters(self, model: Any) -> int:
        return self.length * model.placed


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """Sines and cosines of each place, added to the embedding (Vaswani et al. 2017, section 3.5); any place has them.

    `scale`: "learned" multiplies them by one number, which begins as the inverse of the root of the width (Hua et al. 2022, section 2).
    """

    scale: Literal["none", "learned"] = "none"

    def build(self, model: Any) -> "Waves":
        from bertsmith.nn.modules.positions import Waves

        return Waves(model.placed if self.scale == "learned" else None)

    def parameters(self, model: Any) -> int:
        return int(self.scale == "learned")


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """None: order is what visibility says of it."""

    def build(self, model: Any) -> Position:
        from bertsmith.nn.modules.positions import Position

        return Position()

    def parameters(self, model: Any) -> int:
        return 0
