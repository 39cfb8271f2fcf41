"""An encoder, and a decoder that reads what it says (Vaswani et al. 2017): sequence i of the output reads sequence i of the input.

n tokens of the input, m of the output, d width.  The two are stacks of the same parts and have one token table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Stream
from bertsmith.nn.attending import Source
from bertsmith.nn.blocks import fill
from bertsmith.nn.transformer import OneStack, Transformer, TransformerConfig, stack_parameters


@dataclass(frozen=True, kw_only=True)
class EncoderDecoder:
    """`layers`: of the decoder; null = as many as the encoder has.  What the decoder's tokens see of each other is the output's to say."""

    layers: int | None = None

    def __post_init__(self):
        require(
            self.layers is None or self.layers > 0, f"model.topology.layers: {self.layers} must be above 0, or null"
        )

    def check(self, model: TransformerConfig) -> None:
        require(not model.memory, "model.memory: an encoder-decoder keeps none; set it to null")

    def build(self, model: TransformerConfig) -> "TwoStacks":
        return TwoStacks(model)

    def sides(self, model: TransformerConfig) -> tuple[TransformerConfig, TransformerConfig]:
        """Encoder and decoder as stacks."""
        encoder = replace(model, topology=OneStack())
        return encoder, replace(encoder, layers=self.layers or model.layers)

    def parameters(self, model: TransformerConfig) -> int:
        encoder, decoder = self.sides(model)
        return stack_parameters(encoder) + stack_parameters(decoder, reads_source=True) - model.vocab * model.inner

    def depth(self, model: TransformerConfig) -> int:
        return model.layers + (self.layers or model.layers)


class TwoStacks(nn.Module):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        encoder, decoder = config.topology.sides(config)
        self.encoder = Transformer(encoder)
        self.decoder = Transformer(decoder, reads_source=True)
        self.decoder.embeddings.tokens = self.encoder.embeddings.tokens

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        return self.encoder.tokens

    def depth_of(self, name: str) -> int:
        """The decoder's layers stand on the encoder's; both embeddings at the bottom."""
        side, _, rest = name.partition(".")
        if side not in ("encoder", "decoder"):
            raise ValueError(f"{name}: not a parameter of this body")
        found = self.get_submodule(side).depth_of(rest)
        return found + self.config.layers if side == "decoder" and found else found

    def forward(self, stream: Stream, read: Tensor | None = None, output: Stream | None = None) -> Tensor:
        """What the decoder says of `output`, (m, d) or its rows `read`; without one, what the encoder says of the input, (n, d) or `read`."""
        if output is None:
            return self.encoder(stream, read)
        if len(output.lengths) != len(stream.lengths):
            raise ValueError(f"{len(output.lengths)} sequences to decode, {len(stream.lengths)} to read")
        return self.decoder(output, read, Source(hidden=fill(self.encoder(stream)), stream=stream))

    def states(self, stream: Stream) -> list[Tensor]:
        """The encoder's."""
        return self.encoder.states(stream)
