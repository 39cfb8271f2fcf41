"""Layers of another width inside, and attention that reads what is around them.

n tokens, m <= n of them read, D width between layers, d inside, h heads of width e.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attending import Attention
from bertsmith.nn.modules.blocks import Layer, fill, first, pick
from bertsmith.nn.modules.positions import Position


class Through(nn.Module):
    """A matrix and a norm."""

    def __init__(self, norm: Any, read: int, width: int):
        super().__init__()
        self.dense, self.norm = nn.Linear(read, width), norm.build(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, read) -> (n, width)."""
        return self.norm(self.dense(x))


class BottleneckLayer(Layer):
    """The parts of a layer of the model that it is inside, between a way in and a way out; `model` is that around it."""

    def __init__(self, model: Any, number: int):
        inside = model.block.inside(model)
        super().__init__(inside, number)
        self.outside = getattr(inside.attention, "outside", False)
        self.enter = Through(model.norm, model.width, inside.width)
        self.leave = nn.Linear(inside.width, model.width)
        self.leave_norm = model.norm.build(model.width)
        self.leave_dropout = nn.Dropout(model.dropout)

    def mixing(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None,
        source: Any,
        cache: Any,
        asking: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(what asks (m, D), what attention says to it (m, d))."""
        if asking is None:
            asking = x if read is None else fill(pick(x, read))
        seen = x if self.outside else self.enter(x)
        asks = seen if read is None else asking if self.outside else self.enter(asking)
        return asking, self.attention(seen, asks, stream, positions, read, cache)

    def finish(self, asking: Tensor, mixed: Tensor) -> Tensor:
        """(m, D) and (m, d) -> (m, D)."""
        x = super().finish(self.enter(asking), mixed)
        return self.leave_norm(asking + self.leave_dropout(self.leave(x)))


class SharedAttention(Attention):
    """Queries and keys read d numbers that they share, values all D."""

    def __init__(
        self,
        outer: int,
        heads: int,
        dropout: float,
        bias: bool,
        positions: Position | None,
        window: int | None,
        inner: int,
        scaled: bool,
        says: int,
        norm: Any,
    ):
        super().__init__(outer, heads, dropout, bias, positions, window, inner, scaled, says)
        del self.qkv
        self.kind = norm
        self.shared = Through(norm, outer, says)
        self.qk = nn.Linear(says, 2 * inner, bias=bias)
        self.v = nn.Linear(outer, inner, bias=bias)

    @property
    def narrows(self) -> bool:
        return self.positions is None

    def fewer(self, count: int) -> SharedAttention:
        """Its shared matrix is as it was."""
        inner, says = count * (self.inner // self.heads), self.out.out_features
        made = self.out.bias is not None, None, self.window, inner, self.factor is None, says, self.kind
        return SharedAttention(self.v.in_features, count, self.dropout, *made)

    @torch.no_grad()
    def keep(self, wide: Any, rows: Tensor) -> None:
        self.shared.load_state_dict(wide.shared.state_dict())
        self.qk.weight.copy_(wide.qk.weight.unflatten(0, (2, -1))[:, rows].flatten(0, 1))
        self.v.weight.copy_(wide.v.weight[rows])
        self.out.weight.copy_(wide.out.weight[:, rows])
        if wide.qk.bias is not None:
            self.qk.bias.copy_(wide.qk.bias.unflatten(0, (2, -1))[:, rows].flatten())
            self.v.bias.copy_(wide.v.bias[rows])
            self.out.bias.copy_(wide.out.bias)

    def asked(
        self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, m = stream.tokens.shape[0], (stream.tokens if read is None else read).shape[0]
        shared = self.shared(x)
        if read is None:
            q, k = first(self.qk(shared), n).unflatten(-1, (2, self.heads, -1)).unbind(1)
        else:
            of_q, of_k = self.qk.weight.chunk(2)
            bias_q, bias_k = (None, None) if self.qk.bias is None else self.qk.bias.chunk(2)
            q = first(F.linear(self.shared(asking), of_q, bias_q), m).unflatten(-1, (self.heads, -1))
            k = first(F.linear(shared, of_k, bias_k), n).unflatten(-1, (self.heads, -1))
        v = first(self.v(x), n).unflatten(-1, (self.heads, -1))
        q = q if self.factor is None else q * self.factor
        return *positions.rotate(q, k, stream, read), v
