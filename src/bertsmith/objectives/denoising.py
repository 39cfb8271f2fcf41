"""A text is written from its vector: what an encoder reads is the text without most of its words, and a decoder is told one vector of it.

TSDAE (Wang et al. 2021, arXiv:2104.06979, section 3; sentence-transformers' DenoisingAutoEncoderLoss).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.nn.body import Body, BodyConfig
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.transformer import TransformerConfig, stack_parameters
from bertsmith.objectives.predict import Summarised, Tokens
from bertsmith.objectives.vectors import TERM

if TYPE_CHECKING:
    from bertsmith.objectives.modules.denoising import DenoisingObjective


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """`pool`: how the vector is made of the encoder's states; `head`: what says the decoder's tokens, over the encoder's table.

    The decoder is the encoder, but for what reads the vector in each layer, which is fresh.
    """

    pool: Literal["cls", "mean"] = "mean"
    head: Any = field(default_factory=Tokens)
    pooler: Summarised = "tanh"  # of the summary that the model would have: whose family it is
    joint: ClassVar[bool] = False

    def build(self, model: Body) -> DenoisingObjective:
        from bertsmith.objectives.modules.denoising import DenoisingObjective

        return DenoisingObjective(self, model)

    def parameters(self, model: BodyConfig) -> int:
        decoder = decoder_of(model)
        reads = stack_parameters(decoder, reads_source=True) - stack_parameters(decoder)
        return reads + self.head.parameters(model)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


def decoder_of(model: Any) -> TransformerConfig:
    """Of the same shapes as the encoder `model`."""
    return EncoderDecoder(stacks="one").sides(model)[1]
