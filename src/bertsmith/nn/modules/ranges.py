"""The grid of eight bits: whole numbers from -127 to 127, times the largest number that it holds / 127 (Zafrir et al. 2019, Q8BERT).

n tokens, p parts of a row that have a range each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

LEAST, MOST = -127, 127  # -128 has no counterpart
_NOTING: ContextVar[bool] = ContextVar("noting", default=True)


def scale_of(most: Tensor) -> Tensor:
    """What one step of the grid is; 1 where all is 0."""
    return torch.where(most > 0, most / MOST, torch.ones_like(most))


def whole(x: Tensor, scale: Tensor) -> Tensor:
    """x in steps of the grid, half to even."""
    return (x / scale).round().clamp(LEAST, MOST)


class _Through(torch.autograd.Function):
    """Forward the nearest number of the grid, backward as if nothing had happened, outside of the range too."""

    @staticmethod
    def forward(ctx, x, most):
        scale = scale_of(most)
        exact = x if x.dtype == torch.float64 else x.float()
        return torch.where(most > 0, whole(exact, scale) * scale, exact).to(x.dtype)

    @staticmethod
    def backward(ctx, slope):
        return slope, None


def on_grid(x: Tensor, most: Tensor) -> Tensor:
    """x, as near as the grids up to `most`, which is broadcast, let it be; where `most` is 0, x itself.  Gradients go straight through."""
    return _Through.apply(x, most)


class Range(nn.Module):
    """The largest number of each part of what passes here: the first update's, then a moving average over updates.  Until the first is made
    nothing is rounded.  What all passes of an update find, on all processes, is taken together, so that it does not matter how many they were."""

    most: Tensor  # (p,)
    updates: Tensor  # ()
    found: Tensor  # (p,), of the update at work

    def __init__(self, decay: float, parts: int = 1):
        super().__init__()
        self.decay = decay
        self.register_buffer("most", torch.zeros(parts))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("found", torch.zeros(parts), persistent=False)

    def forward(self, x: Tensor, first: int = 0, last: int | None = None, rounds: bool = True) -> Tensor:
        """x (n, …): the parts from `first` to `last` of each row, on their grids."""
        which = slice(first, last)
        parts = x.unflatten(-1, (len(self.most[which]), -1))
        if self.training and _NOTING.get() and len(x):
            seen = parts.detach().abs().amax((*range(x.ndim - 1), -1)).float()
            self.found[which] = torch.maximum(self.found[which], seen)
        return on_grid(parts, self.most[which, None]).flatten(-2) if rounds else x

    @torch.no_grad()
    def settle(self, found: Tensor) -> None:
        """An update is made, whose passes found (p,).  The mean is over fewer updates at first, as that of weights is (`recipe.Moving`)."""
        count = int(self.updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        moved = torch.where(self.most > 0, self.most.lerp(found, 1 - decay), found)
        self.most.copy_(torch.where(found > 0, moved, self.most))
        self.updates += 1
        self.found.zero_()


def ranges(module: nn.Module) -> list[Range]:
    return [part for part in module.modules() if isinstance(part, Range)]


@contextmanager
def unnoted() -> Iterator[None]:
    """What passes inside is no text."""
    token = _NOTING.set(False)
    try:
        yield
    finally:
        _NOTING.reset(token)
