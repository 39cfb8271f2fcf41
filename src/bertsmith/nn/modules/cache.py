"""What the layers of a stack keep of tokens that were read, so that the next ones need not read them again.

b texts of different lengths, h heads, e head width, L places kept, s sources of N tokens, k = b / s texts that go on from each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attention import attend, attend_source
from bertsmith.nn.modules.positions import Position

ROOM = 32  # places are added so many at a time


class Cache:
    """Of one stack: first it is given a stream of whole texts, then some further tokens of each at a time, as many of all, in the same order.

    `forgets`: so many of the last tokens of each text are never kept: a [MASK] asks in the place of a token that comes next.
    """

    def __init__(self, layers: int, forgets: int = 0):
        self.layers = [LayerCache(self) for _ in range(layers)]
        self.forgets = forgets
        self.lengths: Tensor | None = None  # (b,) tokens of each text that are kept; None: none was read
        self.even = False  # whether all have as many

    @property
    def begun(self) -> bool:
        return self.lengths is not None

    def read(self, stream: Stream) -> None:
        """A stream has gone through all layers."""
        if self.lengths is None:
            self.lengths = torch.tensor(stream.lengths, device=stream.tokens.device) - self.forgets
            self.even = len(set(stream.lengths)) == 1
        else:
            self.lengths = self.lengths + stream.lengths[0] - self.forgets

    def keep(self, rows: Tensor) -> None:
        """The texts `rows` (b',) alone, in that order; one may go on more than once."""
        self.lengths = self.lengths[rows]
        for layer in self.layers:
            layer.keep(rows)

    def keep_sources(self, sources: Tensor) -> None:
        for layer in self.layers:
            layer.source = layer.source and tuple(x[sources] for x in layer.source)


class LayerCache:
    """`keys`, `values` (b, h, L, e); of a source (s, h, N, e) each, and which of its places are filler (s, 1, 1, N)."""

    def __init__(self, of: Cache):
        self.of = of
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.source: tuple[Tensor, ...] | None = None

    def keep(self, rows: Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, stream: Stream, positions: Position) -> Tensor:
        """`attention.attend` of a stream, whose tokens see those that were read before, too: q, k, v (n, h, e) -> (n, h, e)."""
        if self.keys is None:
            self.keys, self.values = (padded(x, stream.lengths, ROOM) for x in (k, v))
            return attend(q, k, v, stream, bias=positions.bias(stream))
        at = self.of.lengths
        count = len(q) // len(at)  # tokens of each text, c
        q, k, v = (x.unflatten(0, (-1, count)) for x in (q, k, v))
        used = int(at.max()) + count
        if used > self.keys.shape[2]:
            self.keys, self.values = (F.pad(x, (0, 0, 0, ROOM)) for x in (self.keys, self.values))
        texts = torch.arange(len(at), device=at.device)[:, None]
        at = at[:, None] + torch.arange(count, device=at.device)  # (b, c)
        self.keys[texts, :, at], self.values[texts, :, at] = k, v
        added = positions.ahead((at[:1] if self.of.even else at).flatten(), used)
        if added is not None:
            added = added[:, :, 0].unflatten(0, (-1, count)).transpose(1, 2)
        place = torch.arange(used, device=at.device)
        unseen = None if self.of.even and count == 1 else place > at[..., None]
        if stream.window is not None:
            far = place < at[..., None] - stream.window
            unseen = far if unseen is None else unseen | far
        mask = None if unseen is None else unseen[:, None]
        found = _mixed(q.transpose(1, 2), self.keys[:, :, :used], self.values[:, :, :used], mask, added)
        return found.transpose(1, 2).flatten(0, 1)

    def attend_source(self, q: Tensor, made: Callable[[], tuple[Tensor, Tensor]], stream: Stream, of: Stream) -> Tensor:
        """`attention.attend_source`; `made()` -> (N, h, e) each, asked for once."""
        if self.source is None:
            k, v = made()
            keys, values = (padded(x, of.lengths) for x in (k, v))
            lengths = torch.tensor(of.lengths, device=q.device)
            filler = torch.arange(keys.shape[2], device=q.device) >= lengths[:, None]
            self.source = keys, values, filler[:, None, None]
            return attend_source(q, k, v, stream, of)
        keys, values, filler = self.source
        together = q.unflatten(0, (len(keys), -1)).transpose(1, 2)  # (s, h, k, e)
        return _mixed(together, keys, values, filler, None).transpose(1, 2).flatten(0, 1)


def _mixed(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor | None, added: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if added is not None:
        scores = scores + added.to(scores.dtype)
    if unseen is not None:
        scores = scores.masked_fill(unseen, -torch.inf)
    return scores.softmax(-1) @ v


def padded(x: Tensor, lengths: tuple[int, ...], more: int = 0) -> Tensor:
    """(n, h, e) of packed sequences -> (b, h, L, e), with room for `more`."""
    rows = torch.nn.utils.rnn.pad_sequence(list(x.split(lengths)), batch_first=True)
    return F.pad(rows.transpose(1, 2), (0, 0, 0, more)).contiguous()
