"""What a layer does to each token by itself: width d to the hidden width f and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bertsmith.nn.modules.blocks import ACTIVATIONS

if TYPE_CHECKING:
    from bertsmith.nn.feedforward import Stacked


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

    def __init__(self, width: int, hidden: int, activation: str, bias: bool = True, norm: Any = None):
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=bias)
        self.norm = None if norm is None else norm.build(hidden)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        moved, gate = self.up(x).chunk(2, -1)
        product = self.activation(moved) * gate
        return self.down(product if self.norm is None else self.norm(product))


class Summand(nn.Module):
    """One of several, with its norms and the sum that it adds to; `block` says where these stand."""

    def __init__(self, part: nn.Module, model: Any):
        super().__init__()
        self.block, self.part = model.block, part
        self.norm = model.block.build_norm(model, 1, "feedforward")
        self.dropout = nn.Dropout(model.dropout if model.block.drops else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        return self.block.leave(self.norm, x, self.dropout(self.part(self.block.enter(self.norm, x))))


class StackedFeedForward(FeedForward):
    """The last of `part.count`, whose sum and norm are the layer's; a layer lets those `before` it speak first."""

    def __init__(self, part: Stacked, model: Any):
        made = model.width, model.hidden, part.activation, part.bias
        super().__init__(*made)
        self.first = nn.ModuleList(Summand(FeedForward(*made), model) for _ in range(part.count - 1))

    def before(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, d): what the last of them is given."""
        for one in self.first:
            x = one(x)
        return x


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
