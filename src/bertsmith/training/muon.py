"""Muon for the matrices of the layers, AdamW for all else: tables, heads, biases and norms.

torch's own (Jordan 2024): what momentum gathers is made orthogonal, nearly, and scaled so that it is as long as AdamW's step ("match_rms_adamw", Liu et
al. 2025, arXiv:2502.16982, equation 4); so AdamW's rates and decay serve.  A matrix that is several in one (queries, keys and values) is one here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.nn.modules.member import depths


class Muon(torch.optim.Optimizer):
    """Two optimisers as one: their groups and the state of their parameters, which is there from the start."""

    def __init__(self, matrices: Sequence[dict[str, Any]], lr: float, rest: torch.optim.Optimizer | None):
        self.parts = [] if rest is None else [rest]
        if matrices:
            own = torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw")
            for p in (p for group in matrices for p in group["params"]):
                own.state[p] = {"momentum_buffer": torch.zeros_like(p)}
            self.parts.append(own)
        self.defaults: dict[str, Any] = {}
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state = {p: state for part in self.parts for p, state in part.state.items()}  # type: ignore[assignment]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()


def orthogonal(member: nn.Module) -> set[Tensor]:
    """The matrices that Muon moves: those of linear maps in layers, the lowest to the highest."""
    names = {f"{name}.weight" for name, part in member.named_modules() if isinstance(part, nn.Linear)}
    found = set()
    for name, p in member.named_parameters():
        depth, top = depths(member, name)
        if name in names and p.ndim == 2 and 0 < depth < top:
            found.add(p)
    return found
