"""Attention by hashing: tokens read those that a random rotation puts into the same place (Kitaev et al. 2020, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.nn.attending import Full
from bertsmith.nn.axial import Axial
from bertsmith.nn.positions import Learned, Unplaced
from bertsmith.nn.rotary import Rotary

if TYPE_CHECKING:
    from bertsmith.nn.modules.hashed import HashedAttention
    from bertsmith.nn.modules.positions import Position

PLACED = (Learned, Axial, Rotary, Unplaced)  # schemes that add nothing to scores


@dataclass(frozen=True, kw_only=True)
class Hashed(Full):
    """Queries are keys, of length 1 as such.  In each of `rounds` tokens are sorted by their bucket and read their `chunk` and the one before
    it; itself a token reads only where it sees no other.  Sequences of one chunk are read whole.  Rotations are drawn from `seed`."""

    bias: bool = False
    rounds: int = 4
    chunk: int = 64
    seed: int = 0

    def __post_init__(self):
        for name in ("rounds", "chunk"):
            require(getattr(self, name) > 0, f"model.attention.{name}: {getattr(self, name)} must be above 0")

    def check(self, model: Any) -> None:
        super().check(model)
        require(
            isinstance(model.positions, PLACED),
            f"model.positions: {type(model.positions).__name__} adds to scores, which hashed attention does not know; {', '.join(kind.__name__ for kind in PLACED)} do not",
        )

    def build(self, model: Any, layer: int, positions: Position | None) -> "HashedAttention":  # type: ignore[override]
        from bertsmith.nn.modules.hashed import HashedAttention

        return HashedAttention(self, model, layer)

    def parameters(self, model: Any) -> int:
        inner = self.inner(model)
        return 3 * model.width * inner + self.bias * (2 * inner + model.width)
