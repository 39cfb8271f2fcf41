"""What a layer does to each token by itself: width d to the hidden width f and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["gelu", "gelu_tanh", "relu"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)  # functions in modules/blocks.py


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Up, activation, down (Vaswani et al. 2017)."""

    activation: Activation = "gelu"
    bias: bool = True

    def __post_init__(self):
        known = ", ".join(ACTIVATIONS)
        require(
            self.activation in ACTIVATIONS,
            f"model.feedforward.activation: {self.activation!r} is not one of {known}",
        )

    def build(self, model: Any) -> nn.Module:
        from bertsmith.nn.modules.feedforward import FeedForward

        return FeedForward(model.width, model.hidden, self.activation, self.bias)

    def parameters(self, model: Any) -> int:
        return 2 * model.width * model.hidden + self.bias * (model.hidden + model.width)


@dataclass(frozen=True, kw_only=True)
class Gated(Plain):
    """Up twice: the activation of the first, times the second (GLU; Shazeer 2020).  So `hidden` is two thirds of a plain one's at equal size.

    `norm`: kind of a norm on the product (NormFormer, Shleifer et al. 2021); null: none.
    """

    norm: Any = None

    def build(self, model: Any) -> nn.Module:
        from bertsmith.nn.modules.feedforward import GatedFeedForward

        return GatedFeedForward(model.width, model.hidden, self.activation, self.bias, self.norm)

    def parameters(self, model: Any) -> int:
        own = 3 * model.width * model.hidden + self.bias * (2 * model.hidden + model.width)
        return own + (0 if self.norm is None else self.norm.parameters(model.hidden))


@dataclass(frozen=True, kw_only=True)
class Stacked(Plain):
    """`count` of them, one behind the other, each with a sum and norms of its own (Sun et al. 2020, section 3.2)."""

    count: int = 4

    def __post_init__(self):
        super().__post_init__()
        require(self.count > 1, f"model.feedforward.count: {self.count} is below 2; one alone is Plain")

    def build(self, model: Any) -> nn.Module:
        from bertsmith.nn.modules.feedforward import StackedFeedForward

        return StackedFeedForward(self, model)

    def parameters(self, model: Any) -> int:
        between = model.block.norm_parameters(model, 1, "feedforward")
        return self.count * super().parameters(model) + (self.count - 1) * between


@dataclass(frozen=True, kw_only=True)
class Chunked(Plain):
    """The same, `rows` tokens at a time, whose hidden states are made once more on the way back: a pass holds those of as many."""

    rows: int = 512

    def __post_init__(self):
        super().__post_init__()
        require(self.rows > 0, f"model.feedforward.rows: {self.rows} must be above 0")

    def build(self, model: Any) -> nn.Module:
        from bertsmith.nn.modules.feedforward import ChunkedFeedForward

        return ChunkedFeedForward(model.width, model.hidden, self.activation, self.bias, self.rows)
