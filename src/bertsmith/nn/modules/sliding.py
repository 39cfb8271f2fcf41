"""Windows, with gaps or without, and tokens that read and are read beyond them (Beltagy et al. 2020).  n tokens, m <= n of them read,
d width, h heads, e head width."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attending import Attention
from bertsmith.nn.modules.attention import Bias, Heard, hear, mix, parted, sees, watch
from bertsmith.nn.modules.positions import Position


class SlidingAttention(Attention):
    """`gap`, `gapped`: the last so many heads take every gap-th place.  What is wide reads by `wide`, matrices of its own for queries, keys
    and values, and is read by the ordinary ones."""

    keeps = False
    joined: ClassVar[dict[str, int]] = {"qkv": 3, "wide": 3}

    def __init__(self, width: int, heads: int, *others: Any, gap: int = 1, gapped: int = 0):
        super().__init__(width, heads, *others)
        self.gap, self.gapped = gap, gapped
        self.wide = nn.Linear(width, 3 * self.inner, bias=self.qkv.bias is not None)

    @torch.no_grad()
    def settle(self) -> None:
        """The matrices of wide tokens, which a text without any teaches nothing, become copies of the ordinary ones."""
        self.wide.load_state_dict(self.qkv.state_dict())

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
        dropout, bias = self.dropout if self.training else 0.0, positions.bias(stream)
        if stream.real is not None:
            return self._in_rectangle(q, k, v, x, stream, positions, dropout, bias)
        near, far = _sides(stream, read)
        hear(lambda: Heard(q, k, v, partial(self._sees, stream)))
        if len(far) == 0:
            watch(False, k, lambda each: self._near(q, k, each, stream, 0.0, bias, read))
            return self._near(q, k, v, stream, dropout, bias, read)
        at = (near, far) if read is None else (read[near], read[far])
        own = self.projected(self.wide, x, asking.index_select(0, far), stream, positions, at[1])

        def both(values: Tensor, own_values: Tensor, dropout: float) -> Tensor:
            said = self._near(q.index_select(0, near), k, values, stream, dropout, bias, at[0])
            spread = mix(own[0], own[1], own_values, stream.spread(), dropout, bias, at[1])
            return parted((said, spread), (near, far))

        watch(False, k, lambda each: both(each, each, 0.0))
        return both(v, own[2], dropout)

    def _in_rectangle(self, q, k, v, x, stream, positions, dropout, bias) -> Tensor:
        """Of a padded stream: all tokens by both sets of matrices, and of each what it is."""
        said = self._near(q, k, v, stream, dropout, bias, None)
        if stream.wide is None:
            return said
        own = self.projected(self.wide, x, x, stream, positions, None)
        return torch.where(stream.wide[:, None, None], mix(*own, stream.spread(), dropout, bias), said)

    def _sees(self, stream: Stream, asks: Tensor, keys: Tensor) -> Tensor:
        """By the ordinary matrices: what wide tokens ask, they ask by others."""
        found = sees(stream.narrowed(self.window), asks, keys)
        if self.gapped:
            far = sees(stream.narrowed(self.window, self.gap), asks, keys)
            heads = [found] * (self.heads - self.gapped) + [far] * self.gapped
            found = torch.cat(heads, 1)
        return found if stream.wide is None else found & ~stream.wide[asks]

    def _near(
        self, q: Tensor, k: Tensor, v: Tensor, stream: Stream, dropout: float, bias: Bias | None, read: Tensor | None
    ) -> Tensor:
        """What tokens that are not wide take, by the window."""
        plain, split = stream.narrowed(self.window), q.shape[1] - self.gapped
        if not self.gapped:
            return mix(q, k, v, plain, dropout, bias, read)
        said = []
        for seen, heads in ((plain, slice(0, split)), (stream.narrowed(self.window, self.gap), slice(split, None))):
            if bias is not None:  # it may go by all heads' queries
                said.append(mix(q, k, v, seen, dropout, bias, read)[:, heads])
            elif q[:, heads].shape[1]:
                said.append(mix(q[:, heads], k[:, heads], v[:, heads], seen, dropout, None, read))
        return torch.cat(said, 1)


def _sides(stream: Stream, read: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which of the rows `read` a window binds, and which are wide."""
    if stream.sides is None:
        return stream.tokens[:0], stream.tokens[:0]
    if read is None:
        return stream.sides
    wide = stream.wide[read]  # type: ignore[index]
    return (~wide).nonzero()[:, 0], wide.nonzero()[:, 0]
