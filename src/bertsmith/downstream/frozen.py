"""What stands in a frozen trunk's place: its features, computed once, or itself, computed anew whenever it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bertsmith.data.batch import Stream
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.vectors import layers_of, pooled, states
from bertsmith.nn.body import outer
from bertsmith.objectives.modules.layers import layered
from bertsmith.objectives.supervised import SIDE, reads
from bertsmith.tasks.sequences import Encoded

CACHE = 2 << 30  # bytes of features that are held


class Cached(nn.Module):
    """A "token" is the number of a place, its hidden state that place's feature.  `pooled`: of the text that it stands in, as a head reads it."""

    def __init__(self, features: torch.Tensor, config: Any, pooled: bool = False):
        super().__init__()
        self.features, self.config, self.pooled = features, config, pooled

    def forward(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        rows = stream.tokens if read is None else stream.tokens[read]
        return self.features[rows]

    layered = forward  # of some layers, where these were computed


class Still(nn.Module):
    """A trunk that never learns: in eval mode, without gradient; its weights are no parameters of whoever holds it."""

    def __init__(self, trunk: nn.Module, layers: tuple[int, ...] = ()):
        super().__init__()
        self.trunk, self.config, self.layers = (trunk.eval(),), trunk.config, layers

    @torch.no_grad()
    def forward(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        return self.trunk[0](stream, read)

    @torch.no_grad()
    def layered(self, stream: Stream, read: torch.Tensor | None = None) -> torch.Tensor:
        return layered(self.trunk[0], stream, self.layers, read)


def stand_ins(
    loaded: Loaded, data: dict[str, Encoded], pools: bool, pool: str, layers: tuple[int, ...] = ()
) -> tuple[dict[str, nn.Module], dict[str, Encoded]]:
    """For each part of the data a trunk's stand-in, and what that reads.  `layers`: those that a head reads; (): what the trunk says."""
    places = sum(len(part.places) for part in data.values())
    if places * reads(outer(loaded.recipe.model), pool) * 4 * max(1, len(layers)) > CACHE:
        return {name: Still(loaded.member.model, layers) for name in data}, data
    trunks: dict[str, nn.Module] = {}
    for name, part in data.items():
        if layers:
            features = layers_of(loaded, part, layers, pools, pool)
        else:
            features = pooled(loaded, part, "+".join(SIDE.get(pool, (pool,)))) if pools else states(loaded, part)
        held = torch.from_numpy(features).to(loaded.device)
        trunks[name] = Cached(held, loaded.recipe.model, pooled=pools and not layers)
    return trunks, {name: part.places_alone() for name, part in data.items()}
