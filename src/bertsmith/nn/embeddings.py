"""Tokens to vectors: token, segment and position embeddings, norm, dropout.  n tokens, d width."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import NEVER, Stream
from bertsmith.nn.adaptive import AdaptiveTable
from bertsmith.nn.positions import Position


class Embeddings(nn.Module):
    """By a TransformerConfig.  With `embedding` below `width` the table is factorised, projected after the norm (ALBERT, ELECTRA)."""

    def __init__(self, model: Any):
        super().__init__()
        self.tokens: nn.Module = (
            AdaptiveTable(model.adaptive, model.vocab, model.inner)
            if model.adaptive
            else nn.Embedding(model.vocab, model.inner)
        )
        self.segments = nn.Embedding(model.segments, model.inner) if model.segments else None
        self.asking = nn.Parameter(nn.init.trunc_normal_(torch.empty(model.inner), std=0.02)) if model.asking else None
        self.scale = model.inner**0.5 if model.scaled else None
        self.norm = nn.LayerNorm(model.inner, eps=model.eps) if model.embedding_norm else None
        self.dropout = nn.Dropout(model.dropout)
        self.project = nn.Linear(model.inner, model.width) if model.embedding else None

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.tokens(stream.tokens)
        if self.scale is not None:
            x = x * self.scale
        if self.asking is not None:
            x = torch.where((stream.key_rank == NEVER)[:, None], self.asking, x)
        if self.segments is not None:
            x = x + self.segments(stream.segments)
        x = positions.embed(x, stream)
        x = self.dropout(x if self.norm is None else self.norm(x))
        return x if self.project is None else self.project(x)
