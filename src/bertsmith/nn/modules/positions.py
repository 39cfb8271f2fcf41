"""What a position scheme builds: a `Position` with those of the three hooks that the scheme uses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.modules.attention import Bias
from bertsmith.spelling import amount


class Position(nn.Module):
    """Knows where tokens stand.  n tokens, m <= n asking, d width, h heads, e head width."""

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """x (n, d), before the embedding's norm."""
        return x

    def rotate(self, q: Tensor, k: Tensor, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """q (m, h, e) of the flat indices `read` (None: all n), k (n, h, e)."""
        return q, k

    def bias(self, stream: Stream) -> Bias | None:
        """What is added to the attention scores."""
        return None

    def ahead(self, at: Tensor, keys: int) -> Tensor | None:
        """The same where tokens at the places `at` (b,) read those at 0 to `keys` - 1, of which theirs is one -> (b, h, 1, keys)."""
        return None


class LearnedTable(Position):
    def __init__(self, length: int, width: int):
        super().__init__()
        self.table = nn.Embedding(length, width)

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """Raises InputError where a sequence is longer than the table."""
        longest = max(stream.lengths, default=0)
        if longest > self.table.num_embeddings:
            raise InputError(
                f"a sequence of {amount(longest, 'token')} is longer than the model's {self.table.num_embeddings} positions; cut or split it"
            )
        return x + self.table(stream.positions)


class Waves(Position):
    """`scaled`: the width by whose root they are divided at first, where a factor is learned."""

    def __init__(self, scaled: int | None = None):
        super().__init__()
        self.factor = None if scaled is None else nn.Parameter(torch.ones(1).mul_(scaled**-0.5))

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """Numbers 2i and 2i + 1 of a vector are sine and cosine of position / 10000^(2i / d); computed in float32, held nowhere."""
        half = torch.arange(0, x.shape[1], 2, device=x.device, dtype=torch.float32)
        angles = stream.positions[:, None].float() * torch.exp(half * (-math.log(10000.0) / x.shape[1]))
        waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, : x.shape[1]]
        return x + (waves if self.factor is None else waves * self.factor).to(x.dtype)
