"""How the tokens of a layer read others, and a source.  n tokens, m <= n of them read, N tokens of a source, d width, h heads, e = d / h.

What they are computed by stands in attention.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attention import Bias, attend, attend_source
from bertsmith.nn.modules.blocks import first, repeated
from bertsmith.nn.modules.cache import LayerCache
from bertsmith.nn.modules.positions import Position


class Attention(nn.Module):
    """`positions`: where a scheme has a part in this layer; `window`: where the layer sees less than the stream lets it."""

    keeps = True  # whether a cache can hold what it reads
    joined: ClassVar[dict[str, int]] = {"qkv": 3}  # matrices that are several in one

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        bias: bool = True,
        positions: Position | None = None,
        window: int | None = None,
        inner: int | None = None,
        scaled: bool = True,
        says: int | None = None,
    ):
        """`says`: the width of what it says, where that is not what it reads."""
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.window = window
        self.inner = inner or width
        self.factor = factor(self.inner // heads, scaled)
        self.qkv = nn.Linear(width, 3 * self.inner, bias=bias)
        self.out = nn.Linear(self.inner, says or width, bias=bias)
        self.positions = positions

    @property
    def narrows(self) -> bool:
        """Whether heads can go: they have no parameters but their rows of the matrices."""
        return type(self) is Attention and self.positions is None

    def fewer(self, count: int) -> Attention:
        """Fresh, of so many heads as wide as these; of the same else."""
        inner, out = count * (self.inner // self.heads), self.out
        made = out.bias is not None, None, self.window, inner, self.factor is None, out.out_features
        return Attention(self.qkv.in_features, count, self.dropout, *made)

    @torch.no_grad()
    def keep(self, wide: Attention, rows: Tensor) -> None:
        """What `wide` is at the places `rows` of its heads."""
        self.qkv.weight.copy_(wide.qkv.weight.unflatten(0, (3, -1))[:, rows].flatten(0, 1))
        self.out.weight.copy_(wide.out.weight[:, rows])
        if wide.qkv.bias is not None:
            self.qkv.bias.copy_(wide.qkv.bias.unflatten(0, (3, -1))[:, rows].flatten())
            self.out.bias.copy_(wide.out.bias)

    def forward(
        self,
        x: Tensor,
        asking: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """x (n, d), asking (m, d): the rows `read` of x, or x itself where `read` is None -> (m, d).  Both may end in filler.

        With a cache (and all rows read) x goes on from what it keeps.
        """
        positions = self.positions or positions
        q, k, v = self.asked(x, asking, stream, positions, read)
        if cache is None:
            mixed = self.mixed(q, k, v, x, asking, stream, positions, read)
        else:
            mixed = cache.attend(q, k, v, stream.narrowed(self.window), positions)
        return self.out(as_many(mixed.flatten(1), asking))

    def asked(
        self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q (m, h, e) of the rows `read`, k and v (n, h, e), without filler."""
        return self.projected(self.qkv, x, asking, stream, positions, read)

    def projected(
        self, qkv: nn.Linear, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q (m, h, e) of the rows `read`, k and v (n, h, e) by the matrices `qkv`, without filler."""
        n, m = stream.tokens.shape[0], (stream.tokens if read is None else read).shape[0]
        if read is None:
            q, k, v = first(qkv(x), n).unflatten(-1, (3, self.heads, -1)).unbind(1)
        else:
            of_q, of_kv = slices(qkv, (self.inner, 2 * self.inner))
            q = first(of_q(asking), m).unflatten(-1, (self.heads, -1))
            k, v = first(of_kv(x), n).unflatten(-1, (2, self.heads, -1)).unbind(1)
        q = q if self.factor is None else q * self.factor
        return *positions.rotate(q, k, stream, read), v

    def mixed(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        x: Tensor,
        asking: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None,
    ) -> Tensor:
        """(m, h, e) what each of `read` takes of the values."""
        dropout = self.dropout if self.training else 0.0
        return attend(q, k, v, stream.narrowed(self.window), dropout, self.bias(stream, positions), read)

    def bias(self, stream: Stream, positions: Position) -> Bias | None:
        """What is added to the scores of the layer."""
        return positions.bias(stream)


def as_many(x: Tensor, asking: Tensor) -> Tensor:
    """x (m, d) with filler behind it, as `asking` has it."""
    return repeated(x, asking.shape[0] - x.shape[0])


def slices(matrix: nn.Linear, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
    """What so many rows of a matrix say, one after another, each by itself; a matrix that is no plain one knows how."""
    own = getattr(matrix, "slices", None)
    if own is not None:
        return own(sizes)
    biases = [None] * len(sizes) if matrix.bias is None else matrix.bias.split(sizes)
    return [partial(F.linear, weight=w, bias=b) for w, b in zip(matrix.weight.split(sizes), biases, strict=True)]


def factor(head: int, scaled: bool) -> float | None:
    """By which queries are multiplied where scores are not to be divided by the root of the head's width, as `attend` does."""
    return None if scaled else head**0.5


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a decoder reads: hidden states of a stream, (N, d) or with filler behind them."""

    hidden: Tensor
    stream: Stream


class SourceAttention(nn.Module):
    """Sequence i of a stream reads all of sequence i of a source."""

    joined: ClassVar[dict[str, int]] = {"kv": 2}

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        bias: bool = True,
        inner: int | None = None,
        scaled: bool = True,
    ):
        super().__init__()
        inner = inner or width
        self.heads = heads
        self.dropout = dropout
        self.factor = factor(inner // heads, scaled)
        self.q = nn.Linear(width, inner, bias=bias)
        self.kv = nn.Linear(width, 2 * inner, bias=bias)
        self.out = nn.Linear(inner, width, bias=bias)

    def forward(
        self, asking: Tensor, stream: Stream, source: Source, read: Tensor | None, cache: LayerCache | None = None
    ) -> Tensor:
        """asking (m, d): the rows `read` of the stream, or all -> (m, d).  Both may end in filler."""
        m = (stream.tokens if read is None else read).shape[0]
        q = first(self.q(asking), m).unflatten(-1, (self.heads, -1))
        q = q if self.factor is None else q * self.factor
        if cache is None:
            dropout = self.dropout if self.training else 0.0
            mixed = attend_source(q, *self._read(source), stream, source.stream, dropout, read)
        else:
            mixed = cache.attend_source(q, lambda: self._read(source), stream, source.stream)
        return self.out(as_many(mixed.flatten(1), asking))

    def _read(self, source: Source) -> tuple[Tensor, Tensor]:
        """Keys and values (N, h, e) each."""
        said = first(self.kv(source.hidden), source.stream.tokens.shape[0])
        k, v = said.unflatten(-1, (2, self.heads, -1)).unbind(1)
        return k, v
