"""What a layer does to each token by itself: width d to the hidden width f and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bertsmith.nn.modules.blocks import ACTIVATIONS


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, activation: str, bias: bool = True):
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(nn.Module):
    """`up` (2f, d): the rows that the activation takes, then the gate's."""

    def __init__(self, width: int, hidden: int, activation: str, bias: bool = True):
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        moved, gate = self.up(x).chunk(2, -1)
        return self.down(self.activation(moved) * gate)


class ChunkedFeedForward(FeedForward):
    def __init__(self, width: int, hidden: int, activation: str, bias: bool = True, rows: int = 512):
        super().__init__(width, hidden, activation, bias)
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        whole, parts = super().forward, x.split(self.rows)
        if len(parts) == 1:
            return whole(x)
        if not torch.is_grad_enabled():
            return torch.cat([whole(part) for part in parts])
        # Nothing is drawn in it.
        return torch.cat([checkpoint(whole, part, use_reentrant=False, preserve_rng_state=False) for part in parts])
