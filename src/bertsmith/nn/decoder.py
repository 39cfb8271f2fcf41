"""An encoder, and a decoder that reads what it says (Vaswani et al. 2017): sequence i of the output reads sequence i of the input.

n tokens of the input, m of the output, d width.  The two are stacks of the same parts and have one token table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.transformer import OneStack, TransformerConfig, layer_parameters, stack_parameters

if TYPE_CHECKING:
    from bertsmith.nn.modules.decoder import TwoStacks


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """`layers`: of the decoder; null = as many as the encoder has.  What the decoder's tokens see of each other is the output's to say.

    `share`: the layers of both have attention and feed-forward part in common ("layers": Raffel et al. 2020, section 3.2.2); how the decoder
    reads its source, and where tokens stand, is its own.
    """

    layers: int | None = None
    share: Literal["none", "layers"] = "none"
    decodes: ClassVar[bool] = True

    def __post_init__(self):
        require(
            self.layers is None or self.layers > 0, f"model.topology.layers: {self.layers} must be above 0, or null"
        )

    def check(self, model: TransformerConfig) -> None:
        require(
            self.share == "none" or (self.layers or model.layers) == model.layers,
            f"model.topology.share: {self.share}: {model.layers} layers and {self.layers} in the decoder cannot be the same; set layers to null",
        )
        require(not model.memory, "model.memory: an encoder-decoder keeps none; set it to null")

    def build(self, model: TransformerConfig) -> "TwoStacks":
        from bertsmith.nn.modules.decoder import TwoStacks

        return TwoStacks(model)

    def sides(self, model: TransformerConfig) -> tuple[TransformerConfig, TransformerConfig]:
        """Encoder and decoder as stacks."""
        encoder = replace(model, topology=OneStack())
        places = model.positions.for_decoder() if hasattr(model.positions, "for_decoder") else model.positions
        return encoder, replace(encoder, layers=self.layers or model.layers, positions=places)

    def parameters(self, model: TransformerConfig) -> int:
        encoder, decoder = self.sides(model)
        own = 0 if self.share == "none" else layer_parameters(encoder)
        return (
            stack_parameters(encoder) + stack_parameters(decoder, reads_source=True) - model.vocab * model.inner - own
        )

    def depth(self, model: TransformerConfig) -> int:
        return model.layers + (self.layers or model.layers)
