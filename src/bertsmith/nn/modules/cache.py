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
        self.most = 0  # tokens that a text has at most; where all have as many, so many
        self._added: dict[tuple[Position, int | None, int], Tensor] = {}

    @property
    def begun(self) -> bool:
        return self.lengths is not None

    def read(self, stream: Stream) -> None:
        """A stream has gone through all layers."""
        if self.lengths is None:
            self.lengths = torch.tensor(stream.lengths, device=stream.tokens.device) - self.forgets
            self.even = len(set(stream.lengths)) == 1
            self.most = max(stream.lengths) - self.forgets
        else:
            more = stream.lengths[0] - self.forgets
            self.lengths, self.most = self.lengths + more, self.most + more
        self._added.clear()

    def keep(self, rows: Tensor) -> None:
        """The texts `rows` (b',) alone, in that order; one may go on more than once."""
        self.lengths = self.lengths[rows]
        self._added.clear()
        for layer in self.layers:
            layer.keep(rows)

    def places(self, count: int) -> Tensor:
        """(b, c) where the next `count` tokens of each text will stand; (1, c) where all have as many."""
        at = self.lengths[:1] if self.even else self.lengths
        return at[:, None] + torch.arange(count, device=at.device)

    def added(self, positions: Position, window: int | None, room: int, count: int, dtype: torch.dtype) -> Tensor:
        """What every layer adds to the scores of the next `count` tokens of each text, for `room` places: (b or 1, h or 1, c, room).

        Minus infinity where nothing was read yet, so that products have one shape for as long as there is room.
        """
        key = positions, window, room
        if key not in self._added:
            at = self.places(count)
            place = torch.arange(room, device=at.device)
            unseen = place > at[..., None]
            if window is not None:
                unseen |= place < at[..., None] - window
            said = positions.ahead(at.flatten(), room)
            if said is None:
                said = unseen.new_zeros(len(at), 1, count, room, dtype=dtype)
            else:
                said = said[:, :, 0].unflatten(0, (-1, count)).transpose(1, 2).to(dtype)
            self._added[key] = said.masked_fill(unseen[:, None], -torch.inf)
        return self._added[key]

    def keep_sources(self, sources: Tensor) -> None:
        for layer in self.layers:
            layer.source = layer.source and tuple(x[sources] for x in layer.source)


class LayerCache:
    """`keys`, `values` (b, h, L, e); of a source (s, h, N, e) each, and minus infinity where a place is filler (s, 1, 1, N)."""

    def __init__(self, of: Cache):
        self.of = of
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.source: tuple[Tensor, ...] | None = None
        self._beside: LayerCache | None = None

    @property
    def beside(self) -> LayerCache:
        """Of attention that stands beside the layer's own (pals.py)."""
        self._beside = self._beside or LayerCache(self.of)
        return self._beside

    def keep(self, rows: Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]
        if self._beside is not None:
            self._beside.keep(rows)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, stream: Stream, positions: Position) -> Tensor:
        """`attention.attend` of a stream, whose tokens see those that were read before, too: q, k, v (n, h, e) -> (n, h, e)."""
        if self.keys is None:
            self.keys, self.values = (padded(x, stream.lengths, ROOM) for x in (k, v))
            return attend(q, k, v, stream, bias=positions.bias(stream))
        count, most = len(q) // len(self.of.lengths), self.of.most  # tokens of each text, c
        q, k, v = (x.unflatten(0, (-1, count)) for x in (q, k, v))
        if most + count > self.keys.shape[2]:
            self.keys, self.values = (F.pad(x, (0, 0, 0, ROOM)) for x in (self.keys, self.values))
        if self.of.even:
            own = slice(most, most + count)
            self.keys[:, :, own], self.values[:, :, own] = k.transpose(1, 2), v.transpose(1, 2)
        else:
            at = self.of.places(count)
            texts = torch.arange(len(at), device=at.device)[:, None]
            self.keys[texts, :, at], self.values[texts, :, at] = k, v
        added = self.of.added(positions, stream.window, self.keys.shape[2], count, q.dtype)
        return _mixed(q.transpose(1, 2), self.keys, self.values, added).transpose(1, 2).flatten(0, 1)

    def attend_source(self, q: Tensor, made: Callable[[], tuple[Tensor, Tensor]], stream: Stream, of: Stream) -> Tensor:
        """`attention.attend_source`; `made()` -> (N, h, e) each, asked for once."""
        if self.source is None:
            k, v = made()
            keys, values = (padded(x, of.lengths) for x in (k, v))
            lengths = torch.tensor(of.lengths, device=q.device)
            filler = torch.arange(keys.shape[2], device=q.device) >= lengths[:, None]
            none = torch.zeros(filler.shape, dtype=q.dtype, device=q.device)
            self.source = keys, values, none.masked_fill_(filler, -torch.inf)[:, None, None]
            return attend_source(q, k, v, stream, of)
        keys, values, filler = self.source
        together = q.unflatten(0, (len(keys), -1)).transpose(1, 2)  # (s, h, k, e)
        return _mixed(together, keys, values, filler).transpose(1, 2).flatten(0, 1)


def _mixed(q: Tensor, k: Tensor, v: Tensor, added: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.add_(added).softmax(-1) @ v


def padded(x: Tensor, lengths: tuple[int, ...], more: int = 0) -> Tensor:
    """(n, h, e) of packed sequences -> (b, h, L, e), with room for `more`."""
    found = x.new_zeros(len(lengths), x.shape[1], max(lengths) + more, x.shape[2])
    for into, row in zip(found, x.split(lengths), strict=True):
        into[:, : len(row)] = row.transpose(0, 1)
    return found
