"""A stack whose parts read a learned sum of all states before them (Pagliardini et al. 2024, arXiv:2402.02622, "DenseFormer": depth-weighted averages).

What a part made of the sum is kept as it is; behind it stand weights of everything that was kept so far, the embedding first.  They begin so that
the last state alone is read: a fresh stack computes what one without weights does.  A norm behind the last layer sees no scale, so that the last
state of all has no weight there: its slope would be rounding, which Adam makes steps of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.blocks import Block
from bertsmith.nn.transformer import TransformerConfig, stack_parameters

if TYPE_CHECKING:
    from bertsmith.nn.modules.depths import WeightedTransformer

PARTS = ("attention", "feedforward")


@dataclass(frozen=True, kw_only=True)
class DepthWeighted:
    """`behind`: each "part" of a layer (Charpentier & Samuel 2024, GPT-BERT), or each "layer" (DenseFormer)."""

    behind: Literal["part", "layer"] = "part"
    decodes: ClassVar[bool] = False

    def __post_init__(self):
        require(
            self.behind in ("part", "layer"), f"model.topology.behind: {self.behind!r} is neither 'part' nor 'layer'"
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a layer, those that weights stand behind."""
        return PARTS if self.behind == "part" else PARTS[-1:]

    def check(self, model: TransformerConfig) -> None:
        """InputError for layers that add to their sum otherwise than twice."""
        plain = model.block.inside(model) is model and getattr(model.block, "dropout_mixed", None) is None
        require(
            plain and not hasattr(model.feedforward, "count"),
            f"model.topology: {type(self).__name__} weighs what attention and one feed-forward part add, each once; {type(model.block).__name__} and "
            f"{type(model.feedforward).__name__} do otherwise: take PreNorm without dropout_mixed, and Plain or Gated",
        )
        require(not model.memory, "model.memory: a stack with weights over its depth keeps none; set it to null")

    def build(self, model: TransformerConfig) -> "WeightedTransformer":
        from bertsmith.nn.modules.depths import WeightedTransformer

        return WeightedTransformer(model)

    def weights(self, model: TransformerConfig) -> list[int]:
        """How many stand behind each of the parts of all layers."""
        normed = type(model.block).build_last is not Block.build_last
        found = [number + 2 for number in range(len(self.parts) * model.layers)]
        return [*found[:-1], found[-1] - normed]

    def parameters(self, model: TransformerConfig) -> int:
        return stack_parameters(model) + sum(self.weights(model))

    def depth(self, model: TransformerConfig) -> int:
        return model.layers
