"""Tokens to vectors: token, segment and position embeddings, norm, dropout.  n tokens, d width."""

from __future__ import annotations

from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.positions import Position


class Embeddings(nn.Module):
    """`segments=0`: no segment table.  `embedding` below `width`: a factorised table, projected after the norm (ALBERT, ELECTRA)."""

    def __init__(self, vocab: int, width: int, segments: int, embedding: int | None, eps: float, dropout: float):
        super().__init__()
        inner = embedding or width
        self.tokens = nn.Embedding(vocab, inner)
        self.segments = nn.Embedding(segments, inner) if segments else None
        self.norm = nn.LayerNorm(inner, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(inner, width) if embedding else None

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.tokens(stream.tokens)
        if self.segments is not None:
            x = x + self.segments(stream.segments)
        x = self.dropout(self.norm(positions.embed(x, stream)))
        return x if self.project is None else self.project(x)
