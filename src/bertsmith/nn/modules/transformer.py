"""A stack of layers, put together by a `TransformerConfig`.  n tokens in one flat row, m <= n of them read, d width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.modules.attending import Source
from bertsmith.nn.modules.blocks import Layer, fill, first
from bertsmith.nn.modules.cache import Cache
from bertsmith.nn.transformer import SHARED

if TYPE_CHECKING:
    from bertsmith.nn.transformer import TransformerConfig


class Transformer(nn.Module):
    """One stack.  `reads_source`: whether its layers read the hidden states of another stream, too."""

    def __init__(self, config: TransformerConfig, reads_source: bool = False):
        super().__init__()
        self.config = config
        self.embeddings = config.embeddings.build(config)
        self.positions = config.positions.build(config)
        self.dropout = nn.Dropout(config.dropout if config.block.dropout_last else 0.0)
        self.memory = config.memory.build(config) if config.memory else None
        own = getattr(config.positions, "build_layer", None)
        self.layers = nn.ModuleList()
        for number in range(config.layers):
            first = self.layers[0].attention.positions if number else None
            place = own(config, number, first) if own else None
            self.layers.append(self.make_layer(number, place, reads_source))
            for part in SHARED[config.share]:
                for name in (part, f"{part}_norm"):
                    setattr(self.layers[-1], name, getattr(self.layers[0], name))
        self.norm = config.block.build_last(config)

    def make_layer(self, number: int, place: Any, reads_source: bool) -> Layer:
        """`place`: where the position scheme has a part in each layer."""
        return self.config.block.build_layer(self.config, number, place, reads_source)

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        return self.embeddings.tokens

    @property
    def keeps(self) -> bool:
        """Whether a cache can hold what its layers read."""
        placed = hasattr(self.config.positions, "build_layer")
        alone = self.memory is None and not placed and getattr(self.embeddings, "keeps", True)
        return alone and all(layer.keeps and layer.attention.keeps for layer in self.layers)

    def depth_of(self, name: str) -> int:
        """0: embeddings and positions, i + 1: layer i; the norm behind the last layer stands as high as it."""
        return depth_of(self, name, self.config.layers)

    def forward(
        self, stream: Stream, read: Tensor | None = None, source: Source | None = None, cache: Cache | None = None
    ) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), ascending: the last layer computes only these.

        A cache is given texts, then a token of each at a time, which go on from these; then `read` is None.  With memory, a stream of threads finds there what the sequences before its own left, and leaves what those after them will find.
        """
        inputs = []
        for x in self._states(stream, read, source, cache):
            if self.memory:
                inputs.append(x)
        if self.memory:
            self.memory.keep(stream, inputs[:-1])
        if cache is not None:
            cache.read(stream)
        return self.dropout(first(x, (stream.tokens if read is None else read).shape[0]))

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The embedding and every layer's output, each (n, d), the last one's behind the norm that follows it; memory is left as it is.

        `layers`: of the first so many, and nothing above them is computed.
        """
        found = islice(self._states(stream, None), None if layers is None else layers + 1)
        return [first(state, stream.tokens.shape[0]) for state in found]

    def _states(
        self, stream: Stream, read: Tensor | None, source: Source | None = None, cache: Cache | None = None
    ) -> Iterator[Tensor]:
        """Filler included; of the last layer only the rows `read`."""
        past = self.memory.recall(stream) if self.memory else None
        x = self.embeddings(stream, self.positions)
        x = x if cache is not None and cache.begun else fill(x)  # a token of each text is few rows, and the same ones
        yield x
        for number, layer in enumerate(self.layers):
            last = number + 1 == len(self.layers)
            wanted = read if last else None
            if past is None:
                x = layer(x, stream, self.positions, wanted, source, cache and cache.layers[number])
            else:
                seen = fill(past.before(number, x[: len(stream.tokens)]))
                x = layer(seen, past.stream, self.positions, past.own if wanted is None else past.own[wanted])
            yield self.norm(x) if last and self.norm is not None else x
