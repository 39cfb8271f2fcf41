"""Tokens by threes: what nn/trigram.py builds.  n tokens, w width of the table, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.trigram import Trigram


class TrigramEmbeddings(nn.Module):
    keeps = False  # a cache holds no tokens, and one that is read alone has neighbours

    def __init__(self, part: Trigram, model: Any):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, part.width)
        self.segments = nn.Embedding(part.segments, model.width) if part.segments else None
        self.project = nn.Linear(3 * part.width, model.width)
        self.norm = model.norm.build(model.width)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.project(self.threes(stream))
        if self.segments is not None:
            x = x + self.segments(stream.segments)
        return self.dropout(self.norm(positions.embed(x, stream)))

    def threes(self, stream: Stream) -> Tensor:
        """(n, 3 w): the next token, this one, the one before."""
        x, beside = self.tokens(stream.tokens), _beside(stream)
        later = x[1:] * (beside & (stream.key_rank[1:] <= stream.query_rank[:-1]))[:, None]
        sooner = x[:-1] * (beside & (stream.key_rank[:-1] <= stream.query_rank[1:]))[:, None]
        return torch.cat([F.pad(later, (0, 0, 0, 1)), x, F.pad(sooner, (0, 0, 1, 0))], 1)


def _beside(stream: Stream) -> Tensor:
    """(n - 1,) whether each token and the next are of one sequence."""
    if stream.real is not None:
        real = stream.real.flatten()
        return (stream.positions[1:] > stream.positions[:-1]) & real[1:]
    found = torch.ones(max(0, len(stream.tokens) - 1), dtype=torch.bool)
    found[torch.tensor(stream.lengths).cumsum(0)[:-1] - 1] = False
    return found.to(stream.tokens.device)
