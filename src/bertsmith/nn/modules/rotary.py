"""Rotary positions at work: halves are turned against each other, as in transformers.  n tokens, m <= n asking, h heads, e head width."""

from __future__ import annotations

import torch
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.positions import Position


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
