"""SpanBERT's head: a token of a span from the two tokens beside the span and its place in it.  m predictions, d width, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.nn.modules.blocks import ACTIVATIONS, pick


class BoundaryHead(nn.Module):
    """Two layers of dense, activation and norm, then the model's own token table and a bias (Joshi et al. 2020, section 3.2).

    `limit` places have a vector of `positions` numbers each: a table of its own, as in the released code.
    """

    def __init__(self, width: int, embedding: int, vocab: int, limit: int, positions: int, activation: str, norm: Any):
        super().__init__()
        self.positions = nn.Embedding(limit, positions)
        self.dense1 = nn.Linear(2 * width + positions, width)
        self.norm1 = norm.build(width)
        self.dense2 = nn.Linear(width, embedding)
        self.norm2 = norm.build(embedding)
        self.activation = ACTIVATIONS[activation]
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, beside: Tensor, offset: Tensor, table: Tensor) -> Tensor:
        """beside (m, 2, d): left and right; offset (m,) from 1; table (V, e) -> (m, V)."""
        offset = (
            offset.clamp(min=1) - 1
        )  # 0: a question that counts for nothing, which many processes ask to keep in step
        x = torch.cat([beside.flatten(1), pick(self.positions.weight, offset).to(beside.dtype)], 1)
        x = self.norm1(self.activation(self.dense1(x)))
        x = self.norm2(self.activation(self.dense2(x)))
        return F.linear(x, table, self.bias)
