"""Relative positions in buckets at work (see nn/buckets.py).  b sequences, h heads, q queries, k keys, D distances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attention import Bias
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.buckets import Buckets


class BucketPosition(Position):
    def __init__(self, config: Buckets, heads: int):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.buckets, heads)

    def bias(self, stream: Stream) -> Bias:
        low, high = stream.reach
        distances = torch.arange(low, high + 1, device=stream.positions.device)
        along = F.embedding(self.bucket(-distances), self.table.weight).T  # (h, D)

        def added(q: Tensor, k: Tensor, asks: Tensor, keys: Tensor) -> Tensor:
            if stream.consecutive and torch.equal(asks, keys):  # all ask, alike in all sequences
                return _banded(along, low, asks.shape[1]).to(q.dtype)[None]
            far = stream.apart(asks[:, :, None], keys[:, None, :]) - low
            return along.T[far].permute(0, 3, 1, 2).to(q.dtype)

        return added

    def ahead(self, at: Tensor, keys: int) -> Tensor:
        place = torch.arange(keys, device=at.device)
        return self.table(self.bucket(place - at[:, None])).permute(0, 2, 1)[:, :, None]

    def bucket(self, ahead: Tensor) -> Tensor:
        """Of keys that stand so many tokens after who asks; any shape."""
        count, first = self.config.buckets, torch.zeros_like(ahead)
        if self.config.ahead:
            count //= 2
            first, far = (ahead > 0) * count, ahead.abs()
        else:
            far = (-ahead).clamp(min=0)
        near = count // 2
        wide = torch.log(far.clamp(min=1).float() / near) / math.log(self.config.distance / near) * (count - near)
        return first + torch.where(far < near, far, (near + wide.long()).clamp(max=count - 1))


def _banded(along: Tensor, low: int, length: int) -> Tensor:
    """(h, D) at distances low, low + 1, ... -> (h, length, length): entry (q, k) is that of the distance q - k.

    A view of shifted rows, whose backward adds up rows instead of places.
    """
    reach = length - 1
    rows = torch.arange(-reach, reach + 1, device=along.device).clamp(low, along.shape[1] - 1 + low) - low
    band = along[:, rows].flip(-1)  # distances reach, ..., -reach
    return band.unfold(-1, length, 1).flip(-2)
