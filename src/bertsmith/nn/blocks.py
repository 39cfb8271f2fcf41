"""Blocks: where the norms of a layer stand.  Attention and feed-forward are slots of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.body import outer
from bertsmith.nn.norms import NoNorm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.nn.modules.blocks import Layer


@dataclass(frozen=True, kw_only=True)
class Block:
    """Around each part of a layer stands a residual connection; `enter` is what the part is given of x, `leave` what becomes of x and
    what the part said.  `dropout_last`: the model's dropout on what the last layer says, too.  `by_depth`: fresh matrices that add to the
    sum are smaller by the square root of how many do, so that it does not grow with the depth (Radford et al. 2019, section 2.3)."""

    dropout_last: bool = False
    by_depth: bool = False
    drops: ClassVar[bool] = True  # whether what each part says is dropped out

    def inside(self, model: Any) -> Any:
        """The model as the parts of its layers know it: of another width, where a layer is not as wide inside."""
        return model

    def build_layer(self, model: Any, number: int, positions: Any, reads_source: bool) -> Layer:
        """`positions`: where the position scheme has a part in each layer."""
        from bertsmith.nn.modules.blocks import Layer

        return Layer(model, number, positions, reads_source)

    def layer_parameters(self, model: Any) -> int:
        """Of a layer, besides its parts and their norms."""
        return 0

    def build_norm(self, model: Any, layer: int, part: str) -> nn.Module:
        """Of the part "attention", "source" or "feedforward" of a layer."""
        return model.norm.build(model.width)

    def build_last(self, model: Any) -> nn.Module | None:
        """The norm behind the last layer, where there is one."""
        return None

    def begin(self, body: nn.Module) -> nn.Module:
        """`body` with fresh weights, as a stack of such blocks begins."""
        from bertsmith.nn.modules.blocks import begin_by_depth

        return begin_by_depth(body) if self.by_depth else body

    def enter(self, norm: Any, x: Tensor) -> Tensor:
        return x

    def leave(self, norm: Any, x: Tensor, said: Tensor) -> Tensor:
        raise NotImplementedError

    def norm_parameters(self, model: Any, layer: int, part: str) -> int:
        return model.norm.parameters(model.width)

    def last_parameters(self, model: Any) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class PostNorm(Block):
    """A norm on every sum (Vaswani et al. 2017, BERT)."""

    def leave(self, norm: Any, x: Tensor, said: Tensor) -> Tensor:
        return norm(x + said)


@dataclass(frozen=True, kw_only=True)
class PreNorm(Block):
    """A norm before every part, and one behind the last layer (GPT-2).  `first`: whether the first layer's attention has one; where the
    embedding ends in a norm it needs none (ModernBERT).  `dropout_mixed`: on what attention says, where that is not the model's."""

    first: bool = True
    dropout_mixed: float | None = None

    def __post_init__(self):
        require(
            self.dropout_mixed is None or 0 <= self.dropout_mixed < 1,
            f"model.block.dropout_mixed: {self.dropout_mixed} is not in [0, 1), nor null for the model's",
        )

    def build_layer(self, model: Any, number: int, positions: Any, reads_source: bool) -> Layer:
        from bertsmith.nn.modules.blocks import DroppedLayer

        made = model, number, positions, reads_source
        return super().build_layer(*made) if self.dropout_mixed is None else DroppedLayer(self.dropout_mixed, *made)

    def build_norm(self, model: Any, layer: int, part: str) -> nn.Module:
        return (model.norm if self._has(layer, part) else NoNorm()).build(model.width)

    def build_last(self, model: Any) -> nn.Module:
        return model.norm.build(outer(model))

    def enter(self, norm: Any, x: Tensor) -> Tensor:
        return norm(x)

    def leave(self, norm: Any, x: Tensor, said: Tensor) -> Tensor:
        return x + said

    def norm_parameters(self, model: Any, layer: int, part: str) -> int:
        return model.norm.parameters(model.width) if self._has(layer, part) else 0

    def last_parameters(self, model: Any) -> int:
        return model.norm.parameters(outer(model))

    def _has(self, layer: int, part: str) -> bool:
        return self.first or layer > 0 or part != "attention"


@dataclass(frozen=True, kw_only=True)
class AroundNorm(Block):
    """A norm before every part and one on what it says, before that is added (Ding et al. 2021, "sandwich"); one behind the last layer.

    `after`: on what attention alone says (NormFormer, Shleifer et al. 2021), or all parts.  `said`: kind of the norms on what is said; null: the
    model's.
    """

    after: Literal["all", "attention"] = "all"
    said: Any = None

    def build_norm(self, model: Any, layer: int, part: str) -> nn.Module:
        from bertsmith.nn.modules.blocks import Around

        return Around(model.norm, self._said(model, part), model.width)

    def _said(self, model: Any, part: str) -> Any:
        """Kind of the norm on what a part says."""
        if self.after == "attention" and part == "feedforward":
            return NoNorm()
        return model.norm if self.said is None else self.said

    def build_last(self, model: Any) -> nn.Module:
        return model.norm.build(outer(model))

    def enter(self, norm: Any, x: Tensor) -> Tensor:
        return norm.before(x)

    def leave(self, norm: Any, x: Tensor, said: Tensor) -> Tensor:
        return x + norm.after(said)

    def norm_parameters(self, model: Any, layer: int, part: str) -> int:
        return model.norm.parameters(model.width) + self._said(model, part).parameters(model.width)

    def last_parameters(self, model: Any) -> int:
        return model.norm.parameters(outer(model))
