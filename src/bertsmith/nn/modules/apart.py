"""Parts of a body that belong to one feed, and which feed is being read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.nn.apart import module_of
from bertsmith.nn.modules.adapters import check_plain, placed_layers
from bertsmith.nn.modules.blocks import Layer

if TYPE_CHECKING:
    from bertsmith.nn.apart import Apart

_READ: ContextVar[str] = ContextVar("read", default="")


@contextmanager
def reading(feed: str) -> Iterator[None]:
    """What a body reads inside is of this feed; "" changes nothing."""
    before = _READ.set(feed or _READ.get())
    try:
        yield
    finally:
        _READ.reset(before)


class ApartLayer(Layer):
    """A layer, and for each feed that layer with parts of the feed's own, whose other weights are the same tensors."""

    apart: nn.ModuleDict

    @classmethod
    def of(cls, layer: Layer, own: dict[str, Any]) -> ApartLayer:
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(layer), "_modules": dict(layer._modules)}
        made.apart = nn.ModuleDict({module_of(feed): theirs for feed, theirs in own.items()})
        made.keeps = all(theirs.keeps for theirs in own.values())
        return made

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """As a layer's: of the feed that is being read."""
        name = module_of(_READ.get())
        return self.apart[name](*given, **named) if name in self.apart else super().forward(*given, **named)


def part(body: nn.Module, config: Apart) -> None:
    """In place, every layer.  InputError as the surgery says, and where parts stand apart already."""
    here = placed_layers(body)
    if any(isinstance(layers[number], ApartLayer) for layers, number in here):
        raise InputError(f"{', '.join(config.feeds)}: this model has parts of several feeds already; tune one of them")
    for layers, number in here:
        check_plain(cast(Layer, layers[number]), ", ".join(config.feeds))
    own: dict[str, list[Any]] = {}
    for feed in config.feeds:
        tensors = {id(tensor): tensor for tensor in (*body.parameters(), *body.buffers())}
        copied = deepcopy(body, dict(tensors))  # other modules, the same tensors
        config.surgery.operate(copied)
        own[feed] = [layers[number] for layers, number in placed_layers(copied)]
    for at, (layers, number) in enumerate(here):
        layer: Any = layers[number]
        layers[number] = ApartLayer.of(layer, {feed: theirs[at] for feed, theirs in own.items()})
