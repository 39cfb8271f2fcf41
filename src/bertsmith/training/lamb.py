"""LAMB (You et al. 2020, algorithm 2): Adam whose step in a matrix is as long as the matrix, times the rate; so large batches take large rates.

Matrices that stand here as one (queries, keys and values; a gated part's two) are measured as the several that they are.  Vectors, which have
no decay, move as Adam moves them, as in the code of LTG-BERT.  k parts of a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """`joined`: how many matrices a parameter is, where it is several."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, ...],
        eps: float,
        joined: dict[Tensor, int],
    ):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self.joined = joined
        for p in (p for group in self.param_groups for p in group["params"]):
            step = torch.tensor(0.0, dtype=torch.float32)
            self.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, group)

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[p], group["betas"]
        state["step"] += 1
        step = state["step"].item()
        mean = state["exp_avg"].lerp_(p.grad, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        moment = (square / (1 - second**step)).sqrt_().add_(group["eps"])
        move = (mean / (1 - first**step)).div_(moment).add_(p, alpha=group["weight_decay"])
        if p.ndim > 1:
            parts = self.joined.get(p, 1)
            of, to = (x.unflatten(0, (parts, -1)).flatten(1).norm(dim=1) for x in (p, move))
            trust = torch.where((of > 0) & (to > 0), of / to, torch.ones_like(of))
            move = move.unflatten(0, (parts, -1)).mul_(trust.view(-1, *(1 for _ in p.shape))).flatten(0, 1)
        p.sub_(move, alpha=group["lr"])
