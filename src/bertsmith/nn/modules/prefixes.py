"""Prefixes in front of the layers of a body.  n tokens of s sequences, p prefix, N = n + s p, d width."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import check_plain, placed_layers
from bertsmith.nn.modules.attention import Heard, hear, heard, sees
from bertsmith.nn.modules.blocks import Layer, fill, pick
from bertsmith.nn.modules.memory import Preceded
from bertsmith.nn.modules.positions import Position
from bertsmith.spelling import option

if TYPE_CHECKING:
    from bertsmith.nn.prefixes import Prefixes


class Front:
    """`count` places before each sequence of a stream: the same for every layer, and made once for all that read it."""

    def __init__(self, count: int):
        self.count = count
        self._last: tuple[Stream, Preceded, Tensor] | None = None

    def of(self, stream: Stream) -> tuple[Preceded, Tensor]:
        """(the stream with them, (N,) rows of [prefix; tokens] in its order)."""
        if self._last is None or self._last[0] is not stream:
            found = Preceded.of(stream, [self.count] * len(stream.lengths))
            rows = torch.empty(len(found.own) + len(found.before), dtype=torch.long, device=found.own.device)
            rows[found.before] = torch.arange(self.count, device=rows.device).repeat(len(stream.lengths))
            rows[found.own] = torch.arange(len(found.own), device=rows.device) + self.count
            self._last = stream, found, rows
        return self._last[1], self._last[2]


class PrefixedLayer(Layer):
    """A layer whose parts are those of another; it computes what it says of the tokens alone."""

    keeps = False  # a cache's places are those of tokens
    prefix: nn.Parameter  # (p, d)
    front: Front

    @classmethod
    def of(cls, layer: Layer, width: int, config: Prefixes, front: Front) -> PrefixedLayer:
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(layer), "_modules": dict(layer._modules)}
        made.prefix, made.front = nn.Parameter(torch.empty(config.length, width)), front
        nn.init.normal_(made.prefix, std=config.std)
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
        """As a layer's; there is no cache."""
        wide, rows = self.front.of(stream)
        before = torch.cat([self.prefix.to(x.dtype), x[: len(stream.tokens)]])
        own = wide.own if read is None else wide.own[read]
        with heard() as told:
            said = super().forward(fill(pick(before, rows)), wide.stream, positions, own, source, cache, asking)
        for one in told:  # of the tokens alone, which another model has, too
            hear(lambda one=one: Heard(one.q, one.k[wide.own], one.v[wide.own], partial(sees, stream)))
        return said


def prefix(body: Any, config: Prefixes) -> None:
    """In place, every layer.  InputError as `Prefixes.operate` says, and where there are some already."""
    if getattr(body, "memory", None) is not None:
        _refuse("keeps a memory of the text before")
    if any(layers[number].source is not None for layers, number in placed_layers(body)):
        _refuse("has a decoder, which keeps what it read of tokens alone")
    front = Front(config.length)
    for layers, number in placed_layers(body):
        layer: Any = layers[number]
        if isinstance(layer, PrefixedLayer):
            raise InputError("prefix: this model has prefixes already; tune the model that they were put into")
        check_plain(layer, "prefix")
        place = layer.attention.positions or body.positions
        if layer.attention.window is not None or _relative(place):
            _refuse("goes by how far tokens are apart, and a prefix stands nowhere")
        layers[number] = PrefixedLayer.of(layer, layer.attention.out.out_features, config, front)


def _relative(positions: Any) -> bool:
    """Whether a scheme has a say in the layers, and not in the embedding alone."""
    return any(getattr(type(positions), hook) is not getattr(Position, hook) for hook in ("rotate", "bias"))


def _refuse(why: str) -> None:
    raise InputError(f"prefix: this model {why}; {option('method', 'lora', 'adapter')} tunes it")
