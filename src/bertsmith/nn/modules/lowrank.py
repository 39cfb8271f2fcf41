"""Matrices with an update of low rank.  n tokens, r rank, a matrix (o, d)."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import placed_layers
from bertsmith.nn.modules.blocks import sliced

if TYPE_CHECKING:
    from bertsmith.nn.lowrank import LowRank


class LowRanked(nn.Linear):
    """A linear layer with an update.  Its own matrix keeps its name among the parameters; who reads `weight` gets the sum of both, so that
    rows of it are right, too (of the last layer only the queries that are asked for are computed)."""

    low_in: nn.Parameter
    low_out: nn.Parameter

    @classmethod
    def of(cls, linear: nn.Linear, rank: int, scale: float) -> LowRanked:
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(linear), "_parameters": dict(linear._parameters)}
        out, width = linear._parameters["weight"].shape
        made.scale = scale
        made.low_in = nn.Parameter(torch.empty(rank, width))
        made.low_out = nn.Parameter(torch.zeros(out, rank))
        nn.init.kaiming_uniform_(made.low_in, a=math.sqrt(5))  # as the paper's code
        return made

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        own = self._parameters["weight"]
        if sliced(own):
            return own
        with torch.autocast(own.device.type, enabled=False):
            return torch.addmm(own, self.low_out, self.low_in, alpha=self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """The product with the small matrices alone has no slope of a large one to compute."""
        update = F.linear(F.linear(x, self.low_in), self.low_out)
        return F.linear(x, self._parameters["weight"], self.bias) + self.scale * update


def lower(body: nn.Module, config: LowRank) -> None:
    """In place.  A part that several layers share gets its updates once.  InputError where there are some already."""
    if any(isinstance(part, LowRanked) for part in body.modules()):
        raise InputError("lora: this model has updates already; tune the model that they were made for")
    for layers, number in placed_layers(body):
        for part in config.parts:
            owner = getattr(layers[number], part)
            for name, matrix in [] if owner is None else owner.named_children():
                if isinstance(matrix, nn.Linear) and not isinstance(matrix, LowRanked):
                    config.check(min(matrix.in_features, matrix.out_features))
                    setattr(owner, name, LowRanked.of(matrix, config.rank, config.alpha / config.rank))


@torch.no_grad()
def merged(body: nn.Module) -> nn.Module:
    """A copy whose updates are part of their matrices, of plain linear layers again; all else is the same tensors."""
    kept = {id(tensor): tensor for tensor in (*body.parameters(), *body.buffers())}
    copied = deepcopy(body, dict(kept))
    made: dict[LowRanked, nn.Linear] = {}
    for owner in [*copied.modules()]:
        for name, matrix in [*owner.named_children()]:
            if isinstance(matrix, LowRanked):
                if matrix not in made:
                    made[matrix] = _merged(matrix)
                setattr(owner, name, made[matrix])
    return copied


def _merged(matrix: LowRanked) -> nn.Linear:
    plain = nn.Linear(matrix.in_features, matrix.out_features, bias=matrix.bias is not None, device="meta")
    plain.weight, plain.bias = nn.Parameter(matrix.weight), matrix.bias
    return plain.train(matrix.training)
