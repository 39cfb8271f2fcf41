"""Relative positions at work (see nn/relative.py).  b sequences, n tokens, D distances, d width, h heads, e head width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.attention import Bias
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.relative import Relative


class RelativePosition(Position):
    def __init__(self, config: Relative, model: Any, first: Any):
        super().__init__()
        self.config, self.width = config, model.width
        shape = model.heads, model.width // model.heads
        self.dropout = nn.Dropout(model.dropout)
        self.project = nn.Linear(model.width, model.width, bias=False)
        self.content = first.content if first else _drawn(*shape)  # u
        self.place = first.place if first else _drawn(*shape)  # v
        self.segment = _drawn(*shape) if config.segments else None  # w
        self.sides = _drawn(2, *shape) if config.segments else None  # s: of the same segment, of another

    def rotate(self, q: Tensor, k: Tensor, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return q + self.content.to(q.dtype), k

    def bias(self, stream: Stream) -> Bias:
        low, high = stream.reach
        low = low if self.config.ahead else 0
        limit = self.config.clamp or max(-low, high)
        clamped = limit < max(-low, high)
        low, high = max(low, -limit), min(high, limit)
        distances = torch.arange(low, high + 1, device=stream.positions.device)
        table = self.project(self.dropout(sinusoid(distances, self.width).to(self.project.weight.dtype)))
        table = table.unflatten(-1, self.content.shape).permute(1, 2, 0)  # (h, e, D)

        def added(q: Tensor, k: Tensor, asks: Tensor, keys: Tensor) -> Tensor:
            moved = self._moved(q, self.place)
            against = (moved.permute(2, 0, 1, 3).flatten(1, 2) @ table).unflatten(1, asks.shape).transpose(0, 1)
            far = stream.apart(asks[:, :, None], keys[:, None, :]).clamp(low, high) - low
            bias = spread(against, far) if clamped else Along.apply(against, far)
            return bias if self.sides is None else bias + self._segments(q, asks, keys, stream)

        return added

    def _moved(self, q: Tensor, by: Tensor) -> Tensor:
        """q comes with u added: with another vector in its place, scaled."""
        return (q + (by - self.content).to(q.dtype)) * q.shape[-1] ** -0.5

    def _segments(self, q: Tensor, asks: Tensor, keys: Tensor, stream: Stream) -> Tensor:
        said = torch.einsum("bqhe,she->sbhq", self._moved(q, self.segment), self.sides.to(q.dtype))[..., None]
        same = stream.segments[asks][:, None, :, None] == stream.segments[keys][:, None, None, :]
        return torch.where(same, said[0], said[1])


def _drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(cut_normal(torch.empty(*shape)))


def sinusoid(distances: Tensor, width: int) -> Tensor:
    """(D,) -> (D, width): sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    rates = 10000 ** (-torch.arange(0, width, 2.0, device=distances.device) / width)
    angles = distances[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def spread(against: Tensor, far: Tensor) -> Tensor:
    """(b, h, q, D) at the distances (b, q, k) -> (b, h, q, k)."""
    return against.gather(-1, far[:, None].expand(-1, against.shape[1], -1, -1))


class Along(torch.autograd.Function):
    """`spread` where, of the keys that a token sees, each has a distance of its own: backward gathers, too, where adding up into places
    takes three times as long on a CPU."""

    @staticmethod
    def forward(ctx, against, far):
        ctx.save_for_backward(far)
        ctx.distances = against.shape[-1]
        return spread(against, far)

    @staticmethod
    def backward(ctx, slope):
        (far,) = ctx.saved_tensors
        keys = far.shape[-1]
        # Filler and tokens that only ask, seen by none, come after the others: the first key of a distance is the one.
        first = far.new_full((*far.shape[:2], ctx.distances), keys)
        first.scatter_reduce_(-1, far, torch.arange(keys, device=far.device).expand_as(far), "amin")
        return spread(F.pad(slope, (0, 1)), first), None  # column `keys`: no key has that distance
