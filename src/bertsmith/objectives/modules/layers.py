"""Heads over several layers.  n tokens, m <= n of them read, k layers, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import pick
from bertsmith.objectives.layers import MAIN

if TYPE_CHECKING:
    from bertsmith.objectives.layers import OverLayers


class Mix(nn.Module):
    """(m, k, d) -> (m, d)."""

    def __init__(self, layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, states: Tensor) -> Tensor:
        return self.scale * torch.einsum("mkd,k->md", states, self.weights.softmax(0))


class Read:
    """A trunk as a head sees it that reads several of its layers."""

    def __init__(self, model: Body, config: OverLayers, join: Any):
        self._model, self._layers, self._join = model, config.layers, join
        self.config, self.tokens = config.read(model.config), getattr(model, "tokens", None)

    def __call__(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        return self._join(layered(self._model, stream, self._layers, read))


def layered(model: Any, stream: Stream, layers: tuple[int, ...], read: Tensor | None = None) -> Tensor:
    """(m, k, d): the states of some layers; of a trunk's stand-in, which has computed these alone, what it keeps."""
    if hasattr(model, "layered"):
        return model.layered(stream, read)
    states = model.states(stream)
    return torch.stack([states[layer] if read is None else pick(states[layer], read) for layer in layers], 1)


class LayersObjective(nn.Module):
    def __init__(self, config: OverLayers, model: Body):
        super().__init__()
        self.config = config
        self.mix = Mix(len(config.layers)) if config.how == "mix" else None
        self.add_module(MAIN, config.objective.build(self._read(model)))

    @property
    def columns(self) -> dict[str, int]:
        return getattr(self.get_submodule(MAIN), "columns", {})

    def _read(self, model: Body) -> Any:
        return Read(model, self.config, (lambda states: states.flatten(1)) if self.mix is None else self.mix)

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        return self.get_submodule(MAIN)(self._read(model), batch)

    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        return self.get_submodule(MAIN).scores(self._read(model), batch)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        return self.get_submodule(MAIN).logits(self._read(model), stream, at)

    @torch.no_grad()
    def shares(self) -> dict[str, Any]:
        """What a mixture has learned: each layer's share of the sum, and the scale."""
        shares = self.mix.weights.softmax(0).tolist()
        return {"shares": dict(zip(map(str, self.config.layers), shares, strict=True)), "scale": self.mix.scale.item()}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """What the head takes over, where it is as wide as the one of pre-training."""
        same = self.mix is not None or len(self.config.layers) == 1
        return self.get_submodule(MAIN).inherit(state) if same else ()
