"""Vectors and scores of tokens in clusters (see nn/adaptive.py).  n tokens, m predictions, d width, V vocabulary; cluster 0 is the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.losses import cross_entropy
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.adaptive import Adaptive


class Cluster(nn.Module):
    """Vectors of its tokens, and the matrix between their width and the model's; None where they are the same."""

    def __init__(self, low: int, high: int, own: int, width: int):
        super().__init__()
        self.low, self.high = low, high
        self.table = nn.Embedding(high - low, own)
        self.project = nn.Linear(own, width, bias=False) if own < width else None

    def within(self, ids: Tensor) -> Tensor:
        """The places of `ids` that are its."""
        return ((ids >= self.low) & (ids < self.high)).nonzero()[:, 0]

    def vectors(self, ids: Tensor) -> Tensor:
        found = self.table(ids - self.low)
        return found if self.project is None else self.project(found)

    def scores(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """(m, d) -> (m, its tokens): tied to its vectors."""
        if self.project is not None:
            hidden = hidden @ self.project.weight
        return F.linear(hidden, self.table.weight, bias)


class AdaptiveTable(nn.Module):
    def __init__(self, config: Adaptive, vocab: int, width: int):
        super().__init__()
        self.width = width
        shapes = config.shapes(vocab, width)
        for number, shape in enumerate(shapes):
            self.add_module(f"cluster{number}", Cluster(*shape, width))

    @property
    def clusters(self) -> list[Any]:
        return list(self.children())

    def forward(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d)."""
        if len(self.clusters) == 1:
            return self.clusters[0].vectors(ids)
        if torch.compiler.is_exporting():  # of no size that depends on the ids
            made = [cluster.vectors(ids.clamp(cluster.low, cluster.high - 1)) for cluster in self.clusters]
            found = made[0]
            for cluster, own in zip(self.clusters[1:], made[1:], strict=True):
                found = torch.where((ids >= cluster.low)[:, None], own, found)
            return found
        places = [cluster.within(ids) for cluster in self.clusters]
        parts = [cluster.vectors(ids[at]) for cluster, at in zip(self.clusters, places, strict=True)]
        order = torch.empty_like(ids)
        order[torch.cat(places)] = torch.arange(len(ids), device=ids.device)
        return torch.cat(parts).index_select(0, order)


class AdaptiveEmbeddings(nn.Module):
    def __init__(self, part: Adaptive, model: Any):
        super().__init__()
        self.tokens = AdaptiveTable(part, model.vocab, model.width)
        self.scale = model.width**0.5
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        return self.dropout(positions.embed(self.tokens(stream.tokens) * self.scale, stream))


class AdaptiveHead(nn.Module):
    """The head's tokens and one entry for each further cluster; within these a softmax of their own.  Tied to the table, which is handed in."""

    def __init__(self, config: Adaptive, vocab: int, width: int):
        super().__init__()
        self.shapes = config.shapes(vocab, width)
        further = len(self.shapes) - 1
        # None, not empty: FSDP cannot cut nothing in slices.
        self.entries = nn.Parameter(torch.zeros(further, width)) if further else None
        self.entry_bias = nn.Parameter(torch.zeros(further)) if further else None
        if self.entries is not None:
            cut_normal(self.entries)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def loss(self, hidden: Tensor, labels: Tensor, table: AdaptiveTable) -> Tensor:
        """(m, d), (m,) -> the sum of the losses, in float32; labels below 0 are not asked."""
        head = labels.clone()
        size, total = self.shapes[0][1], hidden.new_zeros((), dtype=torch.float32)
        for number, (cluster, (low, high, _)) in enumerate(zip(table.clusters[1:], self.shapes[1:], strict=True)):
            at = cluster.within(labels)
            head[at] = size + number
            logits = cluster.scores(hidden.index_select(0, at), self.bias[low:high])
            total = total + cross_entropy(logits, labels[at] - low).sum()
        logits = self._head(hidden, table)
        return total + cross_entropy(logits, head).sum()

    def logits(self, hidden: Tensor, table: AdaptiveTable) -> Tensor:
        """(m, d) -> (m, V): log-probabilities of all tokens."""
        size = self.shapes[0][1]
        head = self._head(hidden, table).log_softmax(-1)
        parts = [head[:, :size]]
        for number, (cluster, (low, high, _)) in enumerate(zip(table.clusters[1:], self.shapes[1:], strict=True)):
            own = cluster.scores(hidden, self.bias[low:high]).log_softmax(-1)
            parts.append(own + head[:, size + number, None])
        return torch.cat(parts, 1)

    def _head(self, hidden: Tensor, table: AdaptiveTable) -> Tensor:
        own = table.clusters[0].scores(hidden, self.bias[: self.shapes[0][1]])
        if self.entries is None:
            return own
        return torch.cat([own, F.linear(hidden, self.entries, self.entry_bias)], 1)
