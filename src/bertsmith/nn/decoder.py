"""An encoder, and a decoder that reads what it says (Vaswani et al. 2017): sequence i of the output reads sequence i of the input.

n tokens of the input, m of the output, d width.  The two are stacks of the same parts and have one token table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.transformer import OneStack, TransformerConfig, stack_parameters

if TYPE_CHECKING:
    from bertsmith.nn.modules.decoder import TwoStacks


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """`layers`: of the decoder; null = as many as the encoder has.  What the decoder's tokens see of each other is the output's to say.

    `alone`: whose states are those of a text about which nothing is written: the encoder's, or the decoder's, which reads the same text
    behind that text's last token (Lewis et al. 2020, section 3.1).  `stacks` "one": the decoder is the encoder, but for what reads the
    source (Rothe et al. 2020's shared ones).
    """

    layers: int | None = None
    alone: Literal["encoder", "decoder"] = "encoder"
    stacks: Literal["two", "one"] = "two"
    decodes: ClassVar[bool] = True

    def __post_init__(self):
        require(
            self.layers is None or self.layers > 0, f"model.topology.layers: {self.layers} must be above 0, or null"
        )

    def for_task(self, rewrite: Any) -> "EncoderDecoder":
        """As a class, a tag or an answer is read: of a decoder that has learned to say whole texts, or else of the encoder."""
        return replace(self, alone="decoder" if getattr(rewrite, "whole", False) else "encoder")

    def check(self, model: TransformerConfig) -> None:
        require(not model.memory, "model.memory: an encoder-decoder keeps none; set it to null")
        require(
            self.stacks == "two" or self.layers in (None, model.layers),
            f"model.topology.layers: {self.layers}, but the decoder's are the encoder's {model.layers}; set it to null",
        )

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
        if self.stacks == "one":  # beside the encoder, what reads the source
            return stack_parameters(encoder) + stack_parameters(decoder, reads_source=True) - stack_parameters(decoder)
        return stack_parameters(encoder) + stack_parameters(decoder, reads_source=True) - model.vocab * model.inner

    def depth(self, model: TransformerConfig) -> int:
        return model.layers + (self.layers or model.layers)
