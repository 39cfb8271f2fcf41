"""Embeddings that are told the task: what the part of nn/tasked.py builds.  n tokens, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.tasked import Tasked


class TaskedEmbeddings(nn.Module):
    def __init__(self, part: Tasked, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.inner)
        self.segments = nn.Embedding(part.segments, model.inner)
        self.tasks = nn.Embedding(part.tasks, model.inner)
        self.norm = model.norm.build(model.inner)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        rows = self.segments.num_embeddings
        x = self.tokens(stream.tokens) + self.segments(stream.segments % rows) + self.tasks(stream.segments // rows)
        return self.dropout(self.norm(positions.embed(x, stream)))
