"""Attention by chunks: a token reads those of its own chunk and of the chunks beside it.

n tokens of s sequences, h heads, e head width, B chunks of c places, S of them read by each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules import windowed
from bertsmith.nn.modules.attending import as_many
from bertsmith.nn.modules.attention import gathered, sees, watch
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.chunks import Chunks

NOTHING = -1e9  # the sum of the shares of what sees nothing
Lower = Callable[
    [Tensor, Tensor, Tensor], Tensor
]  # scores (h, B, c, S c) of asks (h, B, c) and keys (h, B, S c) -> scores


class ChunkAttention(nn.Module):
    keeps = False
    positions = None

    def __init__(self, part: Chunks, model: Any):
        super().__init__()
        self.inner, self.heads, self.dropout = part.inner(model), model.heads, model.dropout
        self.chunk, self.sides, self.wraps = part.chunk, part.sides, part.wraps
        self.window = part.window_of(0)
        self.qkv = nn.Linear(model.width, 3 * self.inner, bias=part.bias)
        self.out = nn.Linear(self.inner, model.width, bias=part.bias)

    def forward(
        self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None, cache: Any = None
    ) -> Tensor:
        """x (n, d), asking (m, d): the rows `read` of x, or x itself -> (m, d).  Both may end in filler; chunks are computed whole."""
        q, k, v = self.qkv(x)[: len(stream.tokens)].unflatten(-1, (3, self.heads, -1)).unbind(1)
        q, k = positions.rotate(q, k, stream, None)
        pick = lambda mixed: mixed if read is None else gathered(mixed, read)
        watch(False, k, lambda each: pick(self.mixed(q, k, each, stream, 0.0)))
        mixed = self.mixed(q, k, v, stream, self.dropout if self.training else 0.0)
        return self.out(as_many(pick(mixed).flatten(1), asking))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor, stream: Stream, dropout: float) -> Tensor:
        """q and k (n, h, e), v (n, h, f) -> (n, h, f)."""
        blocks = windowed.cut(stream.lengths, self.chunk, self.sides, q.device, wraps=self.wraps)
        order = torch.arange(len(q), device=q.device).expand(q.shape[1], -1)
        return by_chunks(q * q.shape[-1] ** -0.5, k, v, stream, blocks, order, dropout)[0].transpose(0, 1)


def by_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    stream: Stream,
    blocks: windowed.Blocks,
    order: Tensor,
    dropout: float,
    lower: Lower = lambda scores, asks, keys: scores,
    earlier: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(h, n, f) what is read, and (h, n) the logarithm of what its shares came to.  `order` (h, n): which flat row stands at each place of a
    sequence that is cut into `blocks`; `earlier`: the same, where the last chunk that stands before a first one is of another order."""
    heads, n = order.shape
    size, count, near = blocks.size, len(blocks.every), blocks.beside.shape[1]
    places = blocks.beside
    q, k, v = (x.transpose(0, 1).flatten(0, 1) for x in (q, k, v))  # (h n, .)
    asks = order[:, blocks.rows].view(heads, count, size)
    stands = asks
    if earlier is not None:
        stands = torch.cat([asks, earlier[:, blocks.rows].view(heads, count, size)], 1)
        places = places + count * (places > blocks.every[:, None])
    keys = stands[:, places].flatten(2)
    head = torch.arange(heads, device=q.device)[:, None, None]
    rows, beside = asks + n * head, (places + stands.shape[1] * head).flatten(0, 1)
    chunked = lambda x: gathered(x, stands + n * head).view(heads * stands.shape[1], -1)
    read = lambda x: gathered(chunked(x), beside).view(heads, count, near * size, -1)
    scores = (gathered(q, rows) @ read(k).transpose(-1, -2)).float()
    real = (blocks.real.view(count, size)[blocks.beside] & blocks.there[..., None]).flatten(1)
    seen = sees(stream, asks[..., None], keys[:, :, None]) & real[:, None]
    scores = lower(scores, asks, keys)
    filler = ~blocks.real.view(count, size, 1)
    blind = ~(seen | filler).any(-1)
    scores = scores.masked_fill(~(seen | filler | blind[..., None]), -torch.inf)
    sums = scores.logsumexp(-1)
    shares = F.dropout((scores - sums[..., None]).exp().to(v.dtype), dropout)
    said = (shares @ read(v)).masked_fill(blind[..., None], 0)
    where = blocks.places[order.argsort(-1)] + count * size * head[..., 0]
    sums = sums.masked_fill(blind, NOTHING).flatten().index_select(0, where.flatten())
    return gathered(said.flatten(0, 2), where), sums.view(heads, n)
