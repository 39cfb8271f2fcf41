"""An encoder and a decoder that reads what it says.  n tokens of the input, m of the output, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attending import Source
from bertsmith.nn.modules.blocks import fill
from bertsmith.nn.modules.transformer import Transformer
from bertsmith.spelling import amount

if TYPE_CHECKING:
    from bertsmith.nn.transformer import TransformerConfig


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
            raise ValueError(f"{amount(len(output.lengths), 'sequence')} to decode, {len(stream.lengths)} to read")
        return self.decoder(output, read, Source(hidden=fill(self.encoder(stream)), stream=stream))

    def states(self, stream: Stream) -> list[Tensor]:
        """The encoder's."""
        return self.encoder.states(stream)
