"""Tokens to vectors: what the parts of nn/embeddings.py build.  n tokens, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import NEVER, Stream
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.embeddings import Frames, Summed


class Embeddings(nn.Module):
    def __init__(self, part: Summed, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.inner)
        self.segments = nn.Embedding(part.segments, model.inner) if part.segments else None
        self.norm = model.norm.build(model.inner) if part.norm else None
        self.dropout = nn.Dropout(model.dropout)
        self.project = nn.Linear(model.inner, model.width) if part.width else None

    def looked_up(self, stream: Stream) -> Tensor:
        """(n, d) what tokens are before anything is added."""
        return self.tokens(stream.tokens)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.looked_up(stream)
        if self.segments is not None:
            x = x + self.segments(stream.segments)
        x = positions.embed(x, stream)
        x = self.dropout(x if self.norm is None else self.norm(x))
        return x if self.project is None else self.project(x)


class Looked(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.inner)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, inner)."""
        return self.dropout(positions.embed(self.tokens(stream.tokens), stream))


class AskingEmbeddings(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.width)
        self.asking = nn.Parameter(cut_normal(torch.empty(model.width), cut=2.0))
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = torch.where((stream.key_rank == NEVER)[:, None], self.asking, self.tokens(stream.tokens))
        return self.dropout(positions.embed(x, stream))


class FrameEmbeddings(nn.Module):
    tokens = None  # there is no table

    def __init__(self, part: Frames, model: Any):
        super().__init__()
        self.frames = nn.Linear(model.vocab, model.width)
        self.asking = nn.Parameter(cut_normal(torch.empty(model.width), cut=2.0)) if part.asks else None
        self.norm = model.norm.build(model.width)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.frames(stream.tokens.to(self.frames.weight.dtype))
        if self.asking is not None:
            x = torch.where((stream.key_rank == NEVER)[:, None], self.asking.to(x.dtype), x)
        return self.dropout(self.norm(positions.embed(x, stream)))
