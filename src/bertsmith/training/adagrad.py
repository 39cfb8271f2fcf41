"""AdaGrad (Duchi et al. 2011): each number at a rate over the root of the sum of its squared gradients.  Of a gradient of few rows it moves these alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdaGrad(torch.optim.Optimizer):
    """What it does is the same for any factor of the loss, as far as squares are above `eps`."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, eps: float):
        super().__init__(groups, {"lr": lr, "eps": eps})
        for p in (p for group in self.param_groups for p in group["params"]):
            self.state[p] = {"sum": torch.zeros_like(p)}

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group["lr"], group["eps"])

    def _move(self, p: Tensor, slope: Tensor, lr: float, eps: float) -> None:
        total = self.state[p]["sum"]
        if slope.is_sparse:
            slope = slope.coalesce()
            (rows,), slope = slope.indices(), slope.values()
            now = total.index_select(0, rows).addcmul_(slope, slope)
            total.index_copy_(0, rows, now)
            moved = p.index_select(0, rows).addcdiv_(slope, now.sqrt_().add_(eps), value=-lr)
            p.index_copy_(0, rows, moved)
        else:
            total.addcmul_(slope, slope)
            p.addcdiv_(slope, total.sqrt().add_(eps), value=-lr)
