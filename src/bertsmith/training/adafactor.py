"""AdaFactor without momentum (Shazeer & Stern 2018, algorithm 4), as T5 has it: a matrix's second moments by row and column, and a rate that
is a share of the matrix's own root mean square.

Matrices that stand here as one (queries, keys and values; a gated part's two) move as the several that they are: queries begin smaller than
keys, and one share for all would move them several times as fast.  k such parts, r rows and c columns of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.nn.modules.attending import Attention, SourceAttention
from bertsmith.nn.modules.feedforward import GatedFeedForward

LEAST = 1e-3  # of the root mean square that the rate is a share of
TINY = 1e-30  # below which no second moment is taken to be
FADE = 0.8  # 1 - step ** -FADE of the moments stays


class AdaFactor(torch.optim.Optimizer):
    """`joined`: how many matrices a parameter is, where it is several.  The rate of update n is at most n ** -0.5."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, joined: dict[Tensor, int]):
        super().__init__(groups, {"lr": lr})
        self.joined = joined
        for p in (p for group in self.param_groups for p in group["params"]):
            state: dict[str, Any] = {"step": torch.tensor(0.0, dtype=torch.float32)}
            x = self._parts(p)
            if p.ndim > 1:
                state |= {"row_var": torch.zeros_like(x[..., :1]), "col_var": torch.zeros_like(x[..., :1, :])}
            else:
                state["variance"] = torch.zeros_like(x)
            self.state[p] = state

    def _parts(self, p: Tensor, of: Tensor | None = None) -> Tensor:
        """`p`, or `of` in its place, as (k, r, c), or (1, c) where it is a vector; a view."""
        x = p.detach() if of is None else of
        return x.unflatten(0, (self.joined.get(p, 1), -1)) if p.ndim > 1 else x[None]

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, group["lr"], group["weight_decay"])

    def _move(self, p: Tensor, lr: float, decay: float) -> None:
        state, x, slope = self.state[p], self._parts(p), self._parts(p, p.grad)
        state["step"] += 1
        step = state["step"].item()
        fresh, rate = step**-FADE, min(lr, step**-0.5) * root_mean_square(x).clamp_(min=LEAST)
        if decay:
            p.mul_(1 - lr * decay)
        square = slope.square()
        if p.ndim > 1:
            row = state["row_var"].lerp_(square.mean(-1, keepdim=True), fresh)
            column = state["col_var"].lerp_(square.mean(-2, keepdim=True), fresh)
            moment = (row / row.mean(-2, keepdim=True).clamp_(min=TINY**0.5)) @ column
        else:
            moment = state["variance"].lerp_(square, fresh).clone()
        move = moment.clamp_(min=TINY).rsqrt_().mul_(slope)
        x.sub_(move.mul_(rate / root_mean_square(move).clamp_(min=1.0)))


def root_mean_square(x: Tensor) -> Tensor:
    """Of each of the k parts, (k, 1, 1)."""
    return x.flatten(1).square().mean(1).sqrt_().view(-1, *(1 for _ in x.shape[1:]))


def joined_in(module: nn.Module) -> dict[Tensor, int]:
    """How many matrices a parameter is, where it is several."""
    found: dict[Tensor, int] = {}
    for part in module.modules():
        if isinstance(part, Attention):
            found[part.qkv.weight] = 3
        elif isinstance(part, SourceAttention):
            found[part.kv.weight] = 2
        elif isinstance(part, GatedFeedForward):
            found[part.up.weight] = 2
    return found
