"""Weights over the depth of a stack at work (see nn/depths.py).  n tokens, m <= n of them read, d width, k states so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import Layer, fill, pick
from bertsmith.nn.modules.positions import Position
from bertsmith.nn.modules.transformer import Transformer


@dataclass
class Before:
    """What was computed of a stream so far: (n, d) each, filler included, the embedding first."""

    states: list[Tensor]


class WeightedLayer(Layer):
    """A layer whose parts are those of another; `attention_depths` and `feedforward_depths` (k,) are what of each state is added behind a part,
    (k - 1,) where the newest has no weight."""

    keeps = False  # a cache holds no states

    @classmethod
    def of(cls, layer: Layer, weights: dict[str, int]) -> WeightedLayer:
        """`weights`: how many stand behind a part."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(layer), "_modules": dict(layer._modules), "_parameters": {}}
        for part, count in weights.items():
            made.register_parameter(f"{part}_depths", nn.Parameter(torch.zeros(count)))
        return made

    def forward(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None = None,
        source: Any = None,
        cache: Any = None,
        asking: Tensor | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """As a layer's.  `before` goes on to the next layer with what this one made of all rows; None: x is all that there was."""
        before = before or Before([x])
        asks, mixed = self.mixing(x, stream, positions, read, source, cache, asking)
        rows = before if read is None else Before([fill(pick(state, read)) for state in before.states])
        x = self._weighed("attention", self.add("attention", asks, mixed), rows)
        said = self.feedforward(self.block.enter(self.feedforward_norm, x))
        return self._weighed("feedforward", self.add("feedforward", x, said), rows)

    def _weighed(self, part: str, x: Tensor, before: Before) -> Tensor:
        """(m, d) and what is added of it and of all before; x is one of these from now on, where weights stand behind the part."""
        weights = getattr(self, f"{part}_depths", None)
        if weights is None:
            return x
        before.states.append(x)
        return _Weighed.apply(weights, x, *before.states[: len(weights)])


class _Weighed(torch.autograd.Function):
    """x + sum of weights (k,) times states (n, d); one pass for each state, and nothing held but these."""

    @staticmethod
    def forward(ctx, weights, x, *states):
        ctx.save_for_backward(weights, *states)
        found = x.clone()
        for weight, state in zip(weights, states, strict=True):
            found.addcmul_(state, weight.to(found.dtype))
        return found

    @staticmethod
    def backward(ctx, slope):
        weights, *states = ctx.saved_tensors
        own = torch.stack([(slope * state).sum() for state in states]).to(weights.dtype)
        each = [slope * weight.to(slope.dtype) for weight in weights]
        return own, slope, *(part.to(state.dtype) for part, state in zip(each, states, strict=True))


class WeightedTransformer(Transformer):
    def make_layer(self, number: int, place: Position | None, reads_source: bool) -> Layer:
        made, parts = super().make_layer(number, place, reads_source), self.config.topology.parts
        counts = self.config.topology.weights(self.config)[number * len(parts) :]
        return WeightedLayer.of(made, dict(zip(parts, counts, strict=False)))

    def _states(self, stream: Stream, read: Tensor | None, source: Any = None, cache: Any = None) -> Iterator[Tensor]:
        x = fill(self.embeddings(stream, self.positions))
        before = Before([x])
        yield x
        for number, layer in enumerate(self.layers):
            last = number + 1 == len(self.layers)
            x = layer(x, stream, self.positions, read if last else None, before=before)
            yield self.norm(x) if last and self.norm is not None else x
