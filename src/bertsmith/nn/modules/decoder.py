"""An encoder and a decoder that reads what it says.  n tokens of the input, m of the output, d width."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.data.batch import ARRAYS, Stream
from bertsmith.nn.modules.attending import Source
from bertsmith.nn.modules.blocks import fill
from bertsmith.nn.modules.cache import Cache
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
        if config.topology.stacks == "one":
            shared(self.encoder, self.decoder)

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
        """What the decoder says of `output`, (m, d) or its rows `read`; without one, what the stack that reads a text alone says of the
        input, (n, d) or `read`."""
        if output is None and self.config.topology.alone == "encoder":
            return self.encoder(stream, read)
        if output is None:
            return self.decoder(behind_its_end(stream), read, self.source(stream))
        if len(output.lengths) != len(stream.lengths):
            raise ValueError(f"{amount(len(output.lengths), 'sequence')} to decode, {len(stream.lengths)} to read")
        return self.decoder(output, read, self.source(stream))

    def source(self, stream: Stream) -> Source:
        """What the encoder says of a stream, without what a decoder must not read of it."""
        if stream.hidden is None:
            return Source(hidden=fill(self.encoder(stream)), stream=stream)
        seen = torch.nonzero(~stream.hidden)[:, 0]
        return Source(hidden=fill(self.encoder(stream, seen)), stream=unhidden(stream))

    def cache(self) -> Cache:
        """What the decoder's layers keep of texts that it writes."""
        return Cache(len(self.decoder.layers))

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The encoder's."""
        return self.encoder.states(stream, layers)


def unhidden(stream: Stream) -> Stream:
    """What a decoder may read of a stream."""
    assert stream.hidden is not None
    seen = torch.nonzero(~stream.hidden)[:, 0]
    ends = torch.tensor(np.cumsum(stream.lengths) - 1, device=seen.device)
    before = (~stream.hidden).cumsum(0)[ends]
    lengths = before.diff(prepend=before.new_zeros(1))
    arrays = {name: getattr(stream, name)[seen] for name in ARRAYS}
    return replace(stream, **arrays, lengths=tuple(lengths.tolist()), hidden=None)


def shared(encoder: Any, decoder: Transformer) -> None:
    """The decoder's parts become the encoder's, but for what reads the source."""
    for part in ("embeddings", "positions", "norm"):
        setattr(decoder, part, getattr(encoder, part))
    for mine, theirs in zip(decoder.layers, encoder.layers, strict=True):
        for part in ("attention", "attention_norm", "feedforward", "feedforward_norm"):
            setattr(mine, part, getattr(theirs, part))


def behind_its_end(stream: Stream) -> Stream:
    """The same texts as a decoder reads them that says each anew: from left to right, the last token of each before its first."""
    lengths = torch.tensor(stream.lengths, device=stream.tokens.device)
    ends = lengths.cumsum(0)
    before = torch.arange(len(stream.tokens), device=stream.tokens.device) - 1
    before[ends - lengths] = ends - 1
    place = stream.positions
    read = {"tokens": stream.tokens[before], "query_rank": place, "key_rank": place}
    return replace(stream, **read, segments=torch.zeros_like(place), visibility="causal", hidden=None)
