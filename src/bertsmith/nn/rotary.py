"""Rotary positions (Su et al. 2021, section 3.2): queries and keys are turned by their places, so that scores know distances alone.

n tokens, m <= n asking, h heads, e head width.  Halves are turned against each other, as in transformers: number i with number i + e/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bertsmith.config import require
from bertsmith.data.batch import Stream
from bertsmith.nn.positions import Position


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """`theta`: the longest wavelength is nearly 2 pi times that; `local`: in layers that see a window only (null: the same; ModernBERT)."""

    theta: float = 10_000.0
    local: float | None = None

    def __post_init__(self):
        require(self.theta > 1, f"model.positions.theta: {self.theta} must be above 1")
        require(self.local is None or self.local > 1, f"model.positions.local: {self.local} must be above 1, or null")

    def check(self, model: Any) -> None:
        head = model.width // model.heads
        require(head % 2 == 0, f"model.positions: a head's width ({head}) must be even for rotary positions")

    def build(self, model: Any) -> Position:
        return Position()

    def build_layer(self, model: Any, layer: int, first: Position | None) -> "RotaryPosition":
        near = model.attention.window_of(layer) is not None
        return RotaryPosition(self.local if near and self.local else self.theta)

    def parameters(self, model: Any) -> int:
        return 0


class RotaryPosition(Position):
    def __init__(self, theta: float):
        super().__init__()
        self.theta = theta

    def rotate(self, q: Tensor, k: Tensor, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(k.dtype, torch.float32)
        half = torch.arange(0, k.shape[-1], 2, dtype=exact, device=k.device) / k.shape[-1]
        angles = (stream.positions[:, None].to(exact) * self.theta**-half)[:, None]  # (n, 1, e / 2)
        cos, sin = angles.cos(), angles.sin()
        asked = (cos, sin) if read is None else (cos[read], sin[read])
        return turned(q, *asked), turned(k, cos, sin)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (n, h, e) by angles (n, 1, e / 2), computed in their precision."""
    one, two = x.to(cos.dtype).chunk(2, -1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], -1).to(x.dtype)
