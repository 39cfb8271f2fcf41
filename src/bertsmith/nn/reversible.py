"""A stack whose layers can be undone, so that training holds the states of one of them (Gomez et al. 2017; Kitaev et al. 2020, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.transformer import TransformerConfig, stack_parameters

if TYPE_CHECKING:
    from bertsmith.nn.modules.reversible import ReversibleTransformer

ENDS = ("averaged", "concatenated")


@dataclass(frozen=True, kw_only=True)
class Reversible:
    """Two sums run through the layers: attention reads the second and adds to the first, the feed-forward part the other way round.

    `ends`: what the last norm and the heads read: their mean, or one beside the other, twice the width (transformers' Reformer).
    """

    ends: Literal["averaged", "concatenated"] = "averaged"
    decodes: ClassVar[bool] = False

    def __post_init__(self):
        require(self.ends in ENDS, f"model.topology.ends: {self.ends!r} is neither of {', '.join(ENDS)}")

    @property
    def sums(self) -> int:
        """Widths of the model that a state has."""
        return 2 if self.ends == "concatenated" else 1

    def check(self, model: TransformerConfig) -> None:
        require(
            type(model.block) is PreNorm,
            f"model.block: {type(model.block).__name__}: layers that can be undone add to sums: PreNorm is wanted",
        )
        require(
            not hasattr(model.feedforward, "count"),
            "model.feedforward: several in a layer, which has one sum for all that it says; Plain is wanted",
        )
        require(not model.memory, "model.memory: layers that can be undone keep none; set it to null")

    def build(self, model: TransformerConfig) -> "ReversibleTransformer":
        from bertsmith.nn.modules.reversible import ReversibleTransformer

        return ReversibleTransformer(model)

    def parameters(self, model: TransformerConfig) -> int:
        return stack_parameters(model)

    def depth(self, model: TransformerConfig) -> int:
        return model.layers
