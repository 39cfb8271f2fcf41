"""What a layer does to each token by itself: width d to the hidden width f and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.nn.blocks import ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Up, activation, down (Vaswani et al. 2017)."""

    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    bias: bool = True

    def __post_init__(self):
        known = ", ".join(ACTIVATIONS)
        require(
            self.activation in ACTIVATIONS,
            f"model.feedforward.activation: {self.activation!r} is not one of {known}",
        )

    def build(self, model: Any) -> nn.Module:
        return FeedForward(model.width, model.hidden, self.activation, self.bias)

    def parameters(self, model: Any) -> int:
        return 2 * model.width * model.hidden + self.bias * (model.hidden + model.width)


@dataclass(frozen=True, kw_only=True)
class Gated(Plain):
    """Up twice: the activation of the first, times the second (GLU; Shazeer 2020).  So `hidden` is two thirds of a plain one's at equal size."""

    def build(self, model: Any) -> nn.Module:
        return GatedFeedForward(model.width, model.hidden, self.activation, self.bias)

    def parameters(self, model: Any) -> int:
        return 3 * model.width * model.hidden + self.bias * (2 * model.hidden + model.width)


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
