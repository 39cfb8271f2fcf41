"""Layers that are undone on the way back: y1 = x1 + F(x2), y2 = x2 + G(y1), so x2 = y2 - G(y1) and x1 = y1 - F(x2).  n tokens, d width.

What each said is computed once more, with the same dropout and in the same precision; nothing of a layer is held but its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import fill, pick
from bertsmith.nn.modules.transformer import Transformer

Half = Callable[[Tensor], Tensor]  # F or G of a layer: (n, d) -> (n, d)


class ReversibleTransformer(Transformer):
    together = True  # its layers are computed as one, and none by itself

    @property
    def keeps(self) -> bool:
        return False

    def forward(self, stream: Stream, read: Tensor | None = None, source: Any = None, cache: Any = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), twice as wide where both sums are read; every layer computes all rows."""
        x = fill(self.embeddings(stream, self.positions))
        weights = [weight for weight in self.layers.parameters() if weight.requires_grad]
        run = _Run(self, stream)
        if (
            _get_current_dispatch_mode_stack()
        ):  # torch's counter of operations cannot follow a pass inside a pass: `plan` holds all layers
            one = two = x
            for attend, think in run.halves:
                one = one + attend(two)
                two = two + think(one)
        else:
            one, two = _Undone.apply(run, x, x, *weights)
        x = self._last(one, two)
        return self.dropout(x[: len(stream.tokens)] if read is None else pick(x, read))

    def _states(self, stream: Stream, read: Tensor | None, source: Any = None, cache: Any = None) -> Iterator[Tensor]:
        one = two = fill(self.embeddings(stream, self.positions))
        yield self._ended(one, two)
        for number, (attend, think) in enumerate(_Run(self, stream).halves):
            one = one + attend(two)
            two = two + think(one)
            yield self._last(one, two) if number + 1 == len(self.layers) else self._ended(one, two)

    def _ended(self, one: Tensor, two: Tensor) -> Tensor:
        """(n, d), or (n, 2 d) where they stand side by side."""
        return torch.cat([one, two], -1) if self.config.topology.ends == "concatenated" else (one + two) / 2

    def _last(self, one: Tensor, two: Tensor) -> Tensor:
        assert self.norm is not None
        return self.norm(self._ended(one, two))


class _Run:
    """One pass: its layers as two functions each, and what dropout drew before each of these."""

    def __init__(self, stack: ReversibleTransformer, stream: Stream):
        self.halves = [_halves(layer, stream, stack.positions) for layer in stack.layers]
        self.weights = [[w for w in layer.parameters() if w.requires_grad] for layer in stack.layers]
        drops = stack.training and any(isinstance(part, nn.Dropout) and part.p for part in stack.layers.modules())
        self.device = stream.tokens.device
        self.drawn: list[Any] | None = [] if drops else None
        kind = self.device.type
        self.precision = (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))

    def note(self) -> None:
        if self.drawn is not None:
            cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
            self.drawn.append((torch.get_rng_state(), cuda))

    @contextmanager
    def again(self, number: int) -> Iterator[None]:
        """As it was when the half `number` was first computed."""
        devices = [self.device] if self.device.type == "cuda" else []
        kept = torch.random.fork_rng(devices=devices) if self.drawn is not None else nullcontext()
        on, dtype = self.precision
        with kept, torch.enable_grad(), torch.autocast(self.device.type, dtype, enabled=on):
            if self.drawn is not None:
                state, cuda = self.drawn[number]
                torch.set_rng_state(state)
                if cuda is not None:
                    torch.cuda.set_rng_state(cuda, self.device)
            yield


def _halves(layer: Any, stream: Stream, positions: Any) -> tuple[Half, Half]:
    def attend(x: Tensor) -> Tensor:
        entered = layer.block.enter(layer.attention_norm, x)
        return layer.add("attention", torch.zeros_like(x), layer.attention(entered, entered, stream, positions, None))

    def think(x: Tensor) -> Tensor:
        said = layer.feedforward(layer.block.enter(layer.feedforward_norm, x))
        return layer.add("feedforward", torch.zeros_like(x), said)

    return attend, think


class _Undone(torch.autograd.Function):
    """Both sums behind the last layer.  `weights` are those of the layers, so that autograd knows whose slopes come of it."""

    @staticmethod
    def forward(ctx, run, one, two, *weights):
        for attend, think in run.halves:
            run.note()
            one = one + attend(two)
            run.note()
            two = two + think(one)
        ctx.run, ctx.weights = run, weights
        ctx.save_for_backward(one, two)
        return one, two

    @staticmethod
    def backward(ctx, of_one, of_two):
        run, (one, two) = ctx.run, ctx.saved_tensors
        slopes: dict[int, Tensor] = {}
        for number in reversed(range(len(run.halves))):
            attend, think = run.halves[number]
            two, of_one = _back(run, 2 * number + 1, think, one, two, of_one, of_two, run.weights[number], slopes)
            one, of_two = _back(run, 2 * number, attend, two, one, of_two, of_one, run.weights[number], slopes)
        return None, of_one, of_two, *(slopes.get(id(weight)) for weight in ctx.weights)


def _back(
    run: _Run,
    number: int,
    half: Half,
    read: Tensor,
    end: Tensor,
    of_read: Tensor,
    of_end: Tensor,
    weights: list[Tensor],
    slopes: dict[int, Tensor],
) -> tuple[Tensor, Tensor]:
    """Of end = begin + half(read): (begin, the slope of what was read); the weights' are added to `slopes`."""
    read = read.detach().requires_grad_()
    with run.again(number):
        said = half(read)
    found = torch.autograd.grad(said, (read, *weights), of_end.to(said.dtype), allow_unused=True)
    for weight, slope in zip(weights, found[1:], strict=True):
        if slope is not None:
            slopes[id(weight)] = slopes[id(weight)] + slope if id(weight) in slopes else slope
    return end - said.detach(), of_read if found[0] is None else of_read + found[0]
