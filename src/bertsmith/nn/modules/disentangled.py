"""Disentangled attention at work (see nn/disentangled.py).  b sequences, n tokens, B buckets, D distances, d width, h heads, e head width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attending import Attention, slices
from bertsmith.nn.modules.attention import Bias
from bertsmith.nn.modules.blocks import first, pick
from bertsmith.nn.modules.positions import Position
from bertsmith.nn.modules.relative import Along, spread

if TYPE_CHECKING:
    from bertsmith.nn.disentangled import Disentangled, Distances


class DistanceTable(Position):
    def __init__(self, config: Distances, model: Any):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(2 * config.side, model.width)
        self.norm = config.kind_of(model).build(model.width) if config.norm else None

    def vectors(self, stream: Stream) -> tuple[Tensor, Tensor]:
        """(B, d) of the buckets that two tokens of a sequence can be apart, and (D,) which of them each distance has, the lowest first."""
        low, high = stream.reach
        rows = self.rows(torch.arange(low, high + 1, device=stream.positions.device))
        if stream.real is not None:  # a graph is of texts of any length
            return self.table.weight if self.norm is None else self.norm(self.table.weight), rows
        first = rows[0]
        found = self.table.weight[first : rows[-1] + 1]
        return found if self.norm is None else self.norm(found), rows - first

    def rows(self, distances: Tensor) -> Tensor:
        """Of the table; a distance is how far a key stands before who asks.  Any shape.

        As in the released code: the logarithm is rounded up, and what is as far as `distance` or further has the last row of its side, of
        which there is one more below.  In float32, as transformers has it; float64, which the released code has, gives the same rows.
        """
        side, config = self.config.side, self.config
        if config.buckets is not None:
            half = side // 2
            far = distances.abs().clamp(min=half).float()
            scale = torch.log(torch.tensor((config.distance - 1) / half, device=distances.device))
            wide = torch.ceil(torch.log(far / half) / scale * (half - 1)).long() + half
            distances = torch.where(distances.abs() <= half, distances, wide * distances.sign())
        return (distances + side).clamp(0, 2 * side - 1)


class DisentangledAttention(Attention):
    keeps = False  # a cache holds no distances

    def __init__(self, config: Disentangled, model: Any):
        inner = config.inner(model)
        made = {"window": None, "inner": inner, "scaled": config.scaled}
        super().__init__(model.width, model.heads, model.dropout, config.bias, **made)
        self.terms = config.terms
        self.share = (1 + len(config.terms)) ** -0.5  # of the scores, for each term
        own = {"c2p": "place_k", "p2c": "place_q"}
        for term in config.terms if config.places == "own" else ():
            self.add_module(own[term], nn.Linear(model.width, inner, bias=config.bias))
        self.own = config.places == "own"
        self.place_dropout = nn.Dropout(model.dropout)
        self.gate = nn.Linear(model.width, inner, bias=config.bias) if config.gated else None
        self.norm = None if config.norm is None else config.norm.build(inner)

    def asked(
        self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().asked(x, asking, stream, positions, read)
        return q * self.share, k, v

    def mixed(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        x: Tensor,
        asking: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None,
    ) -> Tensor:
        said = super().mixed(q, k, v, x, asking, stream, positions, read)
        if self.gate is not None:
            said = said * F.gelu(first(self.gate(asking), said.shape[0])).view(said.shape)
        return said if self.norm is None else self.norm(said.flatten(1)).view(said.shape)

    def bias(self, stream: Stream, positions: Position) -> Bias:
        assert isinstance(positions, DistanceTable)
        vectors, of = positions.vectors(stream)
        keys, queries = self._places(self.place_dropout(vectors))
        low = stream.reach[0]
        # The keys of a text are each at a distance of their own from a query, and queries from a key, so that backward need not add up.
        way = Along.apply if stream.consecutive and stream.window is None else spread

        def along(x: Tensor, table: Tensor) -> Tensor:
            """(b, k, h, e) against all distances -> (b, h, k, D)."""
            table = table.unflatten(-1, (self.heads, -1)).permute(1, 2, 0)
            x = x * x.shape[-1] ** -0.5
            return (x.permute(2, 0, 1, 3).flatten(1, 2) @ table).unflatten(1, x.shape[:2]).transpose(0, 1)

        def added(q: Tensor, k: Tensor, asks: Tensor, at: Tensor) -> Tensor:
            far = stream.apart(asks[:, :, None], at[:, None, :]) - low
            found: Any = 0
            if keys is not None:
                found = way(along(q, pick(keys, of)), far)
            if queries is not None:
                turned = far.transpose(1, 2).contiguous()
                found = found + way(along(k * self.share, pick(queries, of)), turned).transpose(-1, -2)
            return found

        return added

    def _places(self, vectors: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(B, h e) what buckets are as keys and as queries; None where none asks."""
        if self.own:
            as_keys, as_queries = getattr(self, "place_k", None), getattr(self, "place_q", None)
        else:
            as_queries, as_keys = slices(self.qkv, (self.inner, self.inner, self.inner))[:2]
        return (
            as_keys(vectors) if "c2p" in self.terms else None,
            as_queries(vectors) if "p2c" in self.terms else None,
        )
