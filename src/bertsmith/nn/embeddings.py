"""Tokens to vectors.  A part is a configuration that builds the module; `model` is a TransformerConfig.  n tokens, d width.

Every part says its `segments` (rows of its segment table; 0: none), its `width` (of a factorised table; None: the model's) and whether
it `asks` (has a vector for tokens that only ask).  Its module has the table as `tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import NEVER, Stream
from bertsmith.nn.positions import Position


@dataclass(frozen=True, kw_only=True)
class Summed:
    """Token, segment and position, a norm on the sum, dropout (BERT).  With a `width` the table is factorised, projected after the norm
    (ALBERT, ELECTRA)."""

    segments: int = 2  # 0: no segment embedding
    width: int | None = None  # of the tables; null = the model's
    norm: bool = True
    asks: ClassVar[bool] = False

    def __post_init__(self):
        require(self.segments >= 0, f"model.embeddings.segments: {self.segments} is negative; 0 = no segment embedding")
        require(
            self.width is None or self.width > 0,
            f"model.embeddings.width: {self.width} must be above 0, or null for the model's",
        )

    def build(self, model: Any) -> "Embeddings":
        return Embeddings(self, model)

    def parameters(self, model: Any) -> int:
        rows = (model.vocab + self.segments) * model.inner + (model.norm.parameters(model.inner) if self.norm else 0)
        return rows + ((model.inner + 1) * model.width if self.width else 0)


class Embeddings(nn.Module):
    def __init__(self, part: Summed, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.inner)
        self.segments = nn.Embedding(part.segments, model.inner) if part.segments else None
        self.norm = model.norm.build(model.inner) if part.norm else None
        self.dropout = nn.Dropout(model.dropout)
        self.project = nn.Linear(model.inner, model.width) if part.width else None

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.tokens(stream.tokens)
        if self.segments is not None:
            x = x + self.segments(stream.segments)
        x = positions.embed(x, stream)
        x = self.dropout(x if self.norm is None else self.norm(x))
        return x if self.project is None else self.project(x)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Tokens alone, and one learned vector for all that only ask (XLNet); its segments are relative ones, of the positions."""

    segments: ClassVar[int] = 0
    width: ClassVar[None] = None
    asks: ClassVar[bool] = True

    def build(self, model: Any) -> "AskingEmbeddings":
        return AskingEmbeddings(model)

    def parameters(self, model: Any) -> int:
        return (model.vocab + 1) * model.width


class AskingEmbeddings(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.width)
        self.asking = nn.Parameter(nn.init.trunc_normal_(torch.empty(model.width), std=0.02))
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = torch.where((stream.key_rank == NEVER)[:, None], self.asking, self.tokens(stream.tokens))
        return self.dropout(positions.embed(x, stream))
