"""Layers that read entities beside tokens.  n tokens, m <= n of them read, l entities, d and w widths of both, f of the feed-forward part.

Without an entity in the stream every operation is BERT's, so that what is said is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attending import Attention, Source
from bertsmith.nn.modules.attention import aside
from bertsmith.nn.modules.blocks import Layer, fill, pick
from bertsmith.nn.modules.cache import Cache
from bertsmith.nn.modules.positions import Position
from bertsmith.nn.modules.transformer import Transformer


@dataclass
class Entities:
    """Those of a stream: their states go from layer to layer."""

    states: Tensor  # (l, w)
    at: Tensor  # (l,) the token that each goes with, ascending
    stream: Stream  # of entities, a sequence for each that has some

    def among(self, read: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of the rows `read` (all: None) those that an entity goes with, and which entities these are."""
        if read is None:
            return self.at, torch.arange(len(self.at), device=self.at.device)
        row = torch.searchsorted(read, self.at).clamp(max=len(read) - 1)
        own = (read[row] == self.at).nonzero()[:, 0]
        return row[own], own


class EntityPart(nn.Module):
    """What a layer has for entities: attention among them, the way into its feed-forward part and, unless it is the last, the way back."""

    def __init__(self, model: Any, last: bool):
        super().__init__()
        part = model.topology
        self.attention = Attention(part.width, part.heads, model.dropout)
        self.attention_norm = model.norm.build(part.width)
        self.into = nn.Linear(part.width, model.hidden, bias=False)  # tokens' own bias is the sum's
        self.back = None if last else nn.Linear(model.hidden, part.width)
        self.back_norm = None if last else model.norm.build(part.width)
        self.dropout = nn.Dropout(model.dropout)

    def idle(self) -> Tensor:
        """0, of which all parameters have a gradient, 0 too: slices on many processes are reduced alike, whichever of them had entities."""
        return torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0

    def attend(self, entities: Entities) -> None:
        x = fill(entities.states)
        with aside():  # entities among themselves are no layer's own attention
            mixed = self.attention(x, x, entities.stream, Position(), None)
        entities.states = self.attention_norm(x + self.dropout(mixed))[: len(entities.at)]

    def return_(self, entities: Entities, fused: Tensor) -> None:
        """`fused` (l, f): the hidden states of the feed-forward part at the tokens of the entities."""
        if self.back is not None:
            entities.states = self.back_norm(entities.states + self.dropout(self.back(fused)))


class FusedLayer(Layer):
    """A layer of the K-encoder: information fusion is the feed-forward part of both (equations 4 and 5)."""

    def __init__(self, model: Any, number: int, positions: Position | None = None):
        super().__init__(model, number, positions)
        self.entity = EntityPart(model, number + 1 == model.layers)

    def forward(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None = None,
        source: Any = None,
        cache: Any = None,
        asking: Tensor | None = None,
        entities: Entities | None = None,
    ) -> Tensor:
        """As of a Layer; `entities` go on to the next one."""
        if entities is None:
            x = super().forward(x, stream, positions, read, source, cache, asking)
            return x + self.entity.idle() if self.training and torch.is_grad_enabled() else x
        x = self.add("attention", *self.mixing(x, stream, positions, read, source, cache, asking))
        self.entity.attend(entities)
        rows, own = entities.among(read)
        hidden = self.feedforward.up(self.block.enter(self.feedforward_norm, x))
        hidden = hidden.index_add(0, rows, self.entity.into(entities.states[own]).to(hidden.dtype))
        hidden = self.feedforward.activation(hidden)
        if read is None:
            self.entity.return_(entities, pick(hidden, rows))
        return self.add("feedforward", x, self.feedforward.down(hidden))


class KnowledgeTransformer(Transformer):
    """`vectors` (e, w): of the entities; no parameter, for they are given."""

    vectors: Tensor

    def __init__(self, config: Any):
        super().__init__(config)
        self.register_buffer("vectors", torch.zeros(config.topology.entities, config.topology.width))

    def make_layer(self, number: int, place: Position | None, reads_source: bool) -> Layer:
        upper = number >= self.config.topology.lower(self.config)
        return FusedLayer(self.config, number, place) if upper else super().make_layer(number, place, reads_source)

    @torch.no_grad()
    def take(self, vectors: Any) -> None:
        """The vectors of a store's entities (e, w), NumPy."""
        self.vectors.copy_(torch.from_numpy(vectors.copy()))

    def _states(
        self, stream: Stream, read: Tensor | None, source: Source | None = None, cache: Cache | None = None
    ) -> Iterator[Tensor]:
        entities = self.entities(stream)
        if entities is None:
            yield from super()._states(stream, read, source, cache)
            return
        x = fill(self.embeddings(stream, self.positions))
        yield x
        for number, layer in enumerate(self.layers):
            last = number + 1 == len(self.layers)
            more = {"entities": entities} if isinstance(layer, FusedLayer) else {}
            x = layer(x, stream, self.positions, read if last else None, **more)
            yield self.norm(x) if last and self.norm is not None else x

    def entities(self, stream: Stream) -> Entities | None:
        """None where the stream has none."""
        given = stream.features.get("entity")
        if given is None:
            return None
        at = given.nonzero()[:, 0]
        if not len(at):
            return None
        ends = torch.tensor(stream.lengths).cumsum(0)
        each = torch.bincount(torch.bucketize(at.cpu(), ends, right=True), minlength=len(ends)).tolist()
        number = given[at] - 1
        arrays = {name: getattr(stream, name)[at] for name in ("positions", "segments", "query_rank", "key_rank")}
        own = Stream(
            tokens=number, **arrays, lengths=tuple(count for count in each if count), visibility=stream.visibility
        )
        return Entities(states=pick(self.vectors, number).to(self.embeddings.tokens.weight.dtype), at=at, stream=own)
