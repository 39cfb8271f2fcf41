"""Projected attention layers in a body.  n tokens, m <= n of them read, d width, s size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import check_plain, placed_layers
from bertsmith.nn.modules.attending import Attention
from bertsmith.nn.modules.attention import aside
from bertsmith.nn.modules.blocks import Layer, fill, pick
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.pals import Pals


class Pal(nn.Module):
    """`down` (d to s) and `up` (s to d) are those of all layers; dropout is on the shares of attention alone, as in the paper's code."""

    def __init__(self, down: nn.Linear, up: nn.Linear, like: Attention, std: float):
        super().__init__()
        self.down, self.up = down, up
        self.attention = Attention(
            down.out_features, like.heads, like.dropout, positions=Position(), window=like.window
        )
        self.attention.out = nn.Identity()
        _draw(self.attention.qkv, std)

    def forward(self, x: Tensor, stream: Stream, read: Tensor | None, cache: Any = None) -> Tensor:
        """x (n, d), what the layer reads -> (m, d), what is to be added.  All may end in filler."""
        low = self.down(x)
        asking = low if read is None else fill(pick(low, read))
        with aside():
            mixed = self.attention(low, asking, stream, self.attention.positions, read, cache and cache.beside)
        return F.gelu(self.up(mixed))


class PalLayer(Layer):
    """A layer whose parts are those of another, and a projected attention layer beside them."""

    pal: Pal

    @classmethod
    def of(cls, layer: Layer, pal: Pal) -> PalLayer:
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(layer), "_modules": dict(layer._modules)}
        made.pal = pal
        return made

    def forward(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None = None,
        source: Any = None,
        cache: Any = None,
        asking: Tensor | None = None,
    ) -> Tensor:
        """As a layer's."""
        asking, mixed = self.mixing(x, stream, positions, read, source, cache, asking)
        beside = self.pal(self.block.enter(self.attention_norm, x), stream, read, cache)
        return self.finish(asking, mixed, beside)

    def finish(self, asking: Tensor, mixed: Tensor, beside: Tensor) -> Tensor:  # type: ignore[override]
        """All that follows attention, row by row."""
        x = self.add("attention" if self.source is None else "source", asking, mixed)
        norm = self.feedforward_norm
        said = self.dropout(self.feedforward(self.block.enter(norm, x)))
        return self.block.leave(norm, x, said + beside)


def project(body: nn.Module, config: Pals) -> None:
    """In place, every layer.  InputError where there is none, and where there are some already."""
    shared: dict[nn.ModuleList, tuple[nn.Linear, nn.Linear]] = {}
    for layers, number in placed_layers(body):
        layer: Any = layers[number]
        if isinstance(layer, PalLayer):
            raise InputError("pal: this model has some already; tune the model that they were put into")
        check_plain(layer, "pal")
        width = layer.attention.out.out_features
        size = config.width(width, layer.attention.heads)
        if layers not in shared:
            shared[layers] = _draw(nn.Linear(width, size), config.std), nn.Linear(size, width)
            for tensor in shared[layers][1].parameters():
                nn.init.zeros_(tensor)
        layers[number] = PalLayer.of(layer, Pal(*shared[layers], layer.attention, config.std))


def _draw(matrix: nn.Linear, std: float) -> nn.Linear:
    cut_normal(matrix.weight, cut=2 * std, std=std)
    nn.init.zeros_(matrix.bias)
    return matrix
