"""Layers that are of another width inside than between them (Sun et al. 2020, MobileBERT, section 3.1): narrower, or, in its teacher, wider.

D width between layers, which is the model's; d width inside; h heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.positions import Learned, Sinusoid, Unplaced

if TYPE_CHECKING:
    from bertsmith.nn.modules.attending import Attention
    from bertsmith.nn.modules.bottleneck import BottleneckLayer

PLACED = (Learned, Sinusoid, Unplaced)  # schemes that a layer's own width is nothing to


@dataclass(frozen=True, kw_only=True)
class Inside(PostNorm):
    """The block that the parts of a layer with a bottleneck stand in; `outer`: D.  Dropout waits for what leaves it."""

    outer: int
    drops: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Bottleneck(PostNorm):
    """Through a matrix and a norm into `width`, where attention and feed-forward add to what came in, and through another matrix back, onto
    what the layer read; a norm on the sum.  Dropout only there, as in the paper's code."""

    width: int = 128

    def __post_init__(self):
        require(self.width > 0, f"model.block.width: {self.width} must be above 0")

    def check(self, model: Any) -> None:
        require(not model.decodes, "model.topology: a layer with a bottleneck reads no source; OneStack is wanted")
        require(
            model.share == "none", f"model.share: {model.share}: layers with bottlenecks have nothing in common; none"
        )
        known = ", ".join(kind.__name__ for kind in PLACED)
        require(
            isinstance(model.positions, PLACED),
            f"model.positions: {type(model.positions).__name__}: a bottleneck has heads of another width; {known} go with it",
        )

    def inside(self, model: Any) -> Any:
        return replace(model, width=self.width, block=Inside(outer=model.width))

    def build_layer(self, model: Any, number: int, positions: Any, reads_source: bool) -> BottleneckLayer:
        from bertsmith.nn.modules.bottleneck import BottleneckLayer

        return BottleneckLayer(model, number)

    def layer_parameters(self, model: Any) -> int:
        norms = model.norm.parameters(self.width) + model.norm.parameters(model.width)
        return (model.width + 1) * self.width + (self.width + 1) * model.width + norms


@dataclass(frozen=True, kw_only=True)
class Outside(Full):
    """Attention inside a bottleneck that reads what the layer reads, D wide, and says d numbers; what is inside asks nothing.

    `shared`: queries and keys read it through a matrix to d and a norm, which they have in common (MobileBERT); else they read it as values do.
    """

    shared: bool = True
    outside: ClassVar[bool] = True

    def check(self, model: Any) -> None:
        super().check(model)
        require(
            isinstance(model.block, Inside),
            f"model.attention: Outside reads what is around a bottleneck; {type(model.block).__name__} has none",
        )

    def build(self, model: Any, layer: int, positions: Any) -> Attention:
        from bertsmith.nn.modules.attending import Attention
        from bertsmith.nn.modules.bottleneck import SharedAttention

        outer, inner = model.block.outer, self.inner(model)
        made = (
            model.heads,
            model.dropout,
            self.bias,
            positions,
            self.window_of(layer),
            inner,
            self.scaled,
            model.width,
        )
        return SharedAttention(outer, *made, model.norm) if self.shared else Attention(outer, *made)

    def parameters(self, model: Any) -> int:
        """Of one layer's."""
        outer, width, inner = model.block.outer, model.width, self.inner(model)
        read = 2 * width + outer if self.shared else 3 * outer
        shared = (outer + 1) * width + model.norm.parameters(width) if self.shared else 0
        return read * inner + inner * width + self.bias * (3 * inner + width) + shared
