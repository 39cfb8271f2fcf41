"""Attention by hashing (Kitaev et al. 2020).  n tokens of s sequences, m <= n of them read, d width, h heads, e head width, r rounds,
B chunks of c places.

In each round the tokens of each sequence are sorted by bucket, cut into chunks, and read their own and the one before.  Rounds are put
together as if each pair had been read once, however many of them let it: its scores are lowered by the logarithm of that number, and each
round counts by the sum of its shares.  With one chunk, or where rounds let every pair meet, it is full attention with shared queries.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules import windowed
from bertsmith.nn.modules.attending import as_many
from bertsmith.nn.modules.attention import Heard, gathered, hear, sees, watch
from bertsmith.nn.modules.chunks import by_chunks
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.hashed import Hashed

ITSELF = 1e5  # by which a token's score of itself is lowered
MANY = 64  # buckets, above which they are pairs of a hash each, so that hashing does not grow with the square of a text


class HashedAttention(nn.Module):
    keeps = False
    positions = None

    def __init__(self, part: Hashed, model: Any, layer: int):
        super().__init__()
        self.inner = part.inner(model)
        self.heads, self.dropout = model.heads, model.dropout
        self.rounds, self.chunk, self.key = part.rounds, part.chunk, (part.seed, layer)
        self.wraps, self.repeats, self.buckets = part.wraps, part.repeats, part.buckets
        self.window = part.chunk  # what it sees is no longer
        self.qk = nn.Linear(model.width, self.inner, bias=part.bias)
        self.v = nn.Linear(model.width, self.inner, bias=part.bias)
        self.out = nn.Linear(self.inner, model.width, bias=part.bias)

    def forward(
        self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None, cache: Any = None
    ) -> Tensor:
        """x (n, d), asking (m, d): the rows `read` of x, or x itself -> (m, d).  Both may end in filler; hashing needs all rows."""
        n = len(stream.tokens)
        qk, v = (part(x)[:n].unflatten(-1, (self.heads, -1)) for part in (self.qk, self.v))
        qk, _ = positions.rotate(qk, qk, stream, None)
        orders = self.sorted(qk.detach(), stream)
        pick = lambda mixed: mixed if read is None else gathered(mixed, read)
        hear(lambda: Heard(pick(qk), _keys(qk) * qk.shape[-1] ** 0.5, v, partial(_others, stream)))
        watch(False, qk, lambda each: pick(self.mixed(qk, each, stream, orders, 0.0)))
        mixed = self.mixed(qk, v, stream, orders, self.dropout if self.training else 0.0)
        return self.out(as_many(pick(mixed).flatten(1), asking))

    @torch.no_grad()
    def sorted(self, qk: Tensor, stream: Stream) -> Tensor:
        """(r, h, n) the flat rows by sequence, then by bucket, then as they stand; each round's own.  Where all sequences are one chunk,
        every round says the same: (1, h, n)."""
        if max(stream.lengths) <= self.chunk:
            return torch.arange(len(qk), device=qk.device).expand(1, qk.shape[1], -1)
        of = torch.from_numpy(np.repeat(np.arange(len(stream.lengths)), stream.lengths)).to(qk.device)
        if self.buckets:
            return (of * math.prod(self.buckets) + self._given(qk)).argsort(dim=-1, stable=True)
        first, second = _buckets(stream.lengths, self.chunk)
        bucket = self._hash(qk, first, stream.lengths, 0)
        if second.max() > 1:
            bucket = bucket * int(second.max()) + self._hash(qk, second, stream.lengths, 1)
        return (of * int(first.max() * second.max()) + bucket).argsort(dim=-1, stable=True)

    def _given(self, qk: Tensor) -> Tensor:
        """(r, h, n) below the number of `buckets`, which are all texts': directions, then their opposites; of several numbers the first goes
        round fastest."""
        bucket, before = torch.zeros((), dtype=torch.long, device=qk.device), 1
        for which, buckets in enumerate(self.buckets):
            rotation = _rotation((*self.key, which), buckets // 2, (*qk.shape[1:], self.rounds), qk.device)
            turned = torch.einsum("nhe,cher->rhnc", qk.float(), rotation)
            bucket = bucket + before * torch.cat([turned, -turned], -1).argmax(-1)
            before *= buckets
        return bucket

    def _hash(self, qk: Tensor, buckets: np.ndarray, lengths: tuple[int, ...], which: int) -> Tensor:
        """(r, h, n) below the number of buckets of each token's sequence: the nearest of half as many directions and of their opposites."""
        columns, shape = max(1, int(buckets.max()) // 2), (*qk.shape[1:], self.rounds)
        turned = torch.einsum("nhe,cher->rhnc", qk.float(), _rotation((*self.key, which), columns, shape, qk.device))
        half = torch.from_numpy(np.repeat(buckets // 2, lengths)).to(qk.device)
        none = torch.arange(columns, device=qk.device) >= half[:, None]
        nearest = torch.cat([x.masked_fill(none, -torch.inf) for x in (turned, -turned)], -1).argmax(-1)
        return (2 * (nearest % columns) + nearest // columns).masked_fill(half == 0, 0)

    def mixed(self, qk: Tensor, v: Tensor, stream: Stream, orders: Tensor, dropout: float) -> Tensor:
        """qk (n, h, e), v (n, h, f) -> (n, h, f)."""
        blocks = windowed.cut(stream.lengths, self.chunk, (-1, 0), qk.device, wraps=self.wraps)
        chunks = blocks.places[orders.argsort(-1)] // blocks.size  # (r, h, n)
        k = _keys(qk)

        def lower(scores: Tensor, asks: Tensor, keys: Tensor) -> Tensor:
            return scores - ITSELF * (asks[..., None] == keys[:, :, None]) - self._met(chunks, asks, keys, blocks)

        said, sums = zip(
            *(
                by_chunks(qk, k, v, stream, blocks, order, dropout, lower, orders[i - 1] if self.wraps else None)
                for i, order in enumerate(orders)
            )
        )
        shares = torch.stack(sums).softmax(0).to(v.dtype)
        return (shares[..., None] * torch.stack(said)).sum(0).transpose(0, 1)

    def _met(self, chunks: Tensor, asks: Tensor, keys: Tensor, blocks: windowed.Blocks) -> Tensor | float:
        """(h, B, c, 2 c) the logarithm of the number of rounds in which each asks where it can read each."""
        if len(chunks) == 1 or self.repeats:
            return 0.0
        many: Tensor | float = 0.0
        for i, chunk in enumerate(chunks):
            own = chunk.gather(1, asks.flatten(1)).view(asks.shape)[..., None]
            near, there = blocks.beside[own, 0], blocks.there[own, 0]
            other, beside = (
                each.gather(1, keys.flatten(1)).view(keys.shape)[:, :, None] for each in (chunk, chunks[i - 1])
            )
            beside = torch.where(near > own, beside, other)
            many = many + (other == own).float() + ((beside == near) & there).float()
        return many.clamp(min=1).log()  # type: ignore[union-attr]


def _keys(qk: Tensor) -> Tensor:
    return F.normalize(qk.float(), dim=-1).to(qk.dtype)


def _others(stream: Stream, asks: Tensor, keys: Tensor) -> Tensor:
    """Whom each would read if all met; itself only where there is no other."""
    return sees(stream, asks, keys) & (asks != keys)


def _buckets(lengths: tuple[int, ...], chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """(s,) two each: twice as many buckets as chunks, as they are or as pairs; 1: no second hash."""
    wanted = 2 * -(-np.array(lengths) // chunk)
    root = 2 * np.ceil(np.sqrt(wanted) / 2).astype(np.int64)
    return np.where(wanted > MANY, root, wanted), np.where(wanted > MANY, root, 1)


@lru_cache(maxsize=128)
def _rotation(key: tuple[int, ...], columns: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """(columns, h, e, r); the first columns are the same however many there are."""
    drawn = np.random.default_rng(np.random.SeedSequence(key)).standard_normal((columns, *shape))
    with torch.inference_mode(False):
        return torch.from_numpy(drawn.astype(np.float32)).to(device)
