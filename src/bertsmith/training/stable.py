"""StableAdamW (Wortsman et al. 2023, algorithm 2): AdamW whose rate falls where a tensor's gradients are larger than its second moments expect.

So a spike makes a small step, and gradients need no clipping.  As ModernBERT has it (the optimi library), betas are debiased instead of moments,
and decay is a share of the rate over its peak: a matrix is multiplied by 1 - decay at the peak, whatever the peak is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class StableAdamW(torch.optim.Optimizer):
    """Each group has its `peak`, the highest rate that it is given."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, ...], eps: float):
        super().__init__(groups, {"lr": lr, "peak": lr, "betas": betas, "eps": eps})
        for p in (p for group in self.param_groups for p in group["params"]):
            step = torch.tensor(0.0, dtype=torch.float32)
            self.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            kept = 1 - group["weight_decay"] * group["lr"] / group["peak"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                state["step"] += 1
                first, second = (debiased(beta, state["step"].item()) for beta in group["betas"])
                mean = state["exp_avg"].lerp_(p.grad, 1 - first)
                square = state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
                ratio = together((p.grad.square() / square.clamp(min=group["eps"] ** 2)).sum()) / p.numel()
                move = mean / square.sqrt().add_(group["eps"])
                p.mul_(kept).sub_(move.mul_(group["lr"] / max(1.0, ratio.sqrt().item())))


def together(number: Tensor) -> Tensor:
    """What all processes have of it together, where each has a slice."""
    return number.full_tensor() if hasattr(number, "full_tensor") else number


def debiased(beta: float, step: float) -> float:
    """The share that stays of a moment in update `step` so that it is a mean of what came, without correction: 0 in the first."""
    return (beta - beta**step) / (1 - beta**step)
