"""Adapters in the layers of a body.  n tokens, d width, m size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.nn.modules.blocks import ACTIVATIONS, Layer
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.spelling import option

if TYPE_CHECKING:
    from bertsmith.nn.adapters import Adapters


class Adapter(nn.Module):
    """x (n, d) -> (n, d), what is to be added to it."""

    def __init__(self, width: int, config: Adapters):
        super().__init__()
        self.down = nn.Linear(width, config.size)
        self.up = nn.Linear(config.size, width)
        self.activation = ACTIVATIONS[config.activation]
        for matrix in (self.down, self.up):
            cut_normal(matrix.weight, cut=2 * config.std, std=config.std)
            nn.init.zeros_(matrix.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.activation(self.down(x)))


class AdaptedLayer(Layer):
    """A layer whose parts are those of another, and adapters by the part that they follow; dropout comes before them, as in the paper's code."""

    adapters: nn.ModuleDict
    form: str

    @classmethod
    def of(cls, layer: Layer, adapters: dict[str, Adapter], form: str) -> AdaptedLayer:
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__ |= {**vars(layer), "_modules": dict(layer._modules)}
        made.adapters, made.form = nn.ModuleDict(adapters), form
        return made

    def add(self, part: str, x: Tensor, said: Tensor) -> Tensor:
        if part not in self.adapters:
            return super().add(part, x, said)
        norm, said = getattr(self, f"{part}_norm"), self.dropout(said)
        read = said if self.form == "houlsby" else self.block.leave(norm, x, said)
        return self.block.leave(norm, x, said + self.adapters[part](read))


def adapt(body: nn.Module, config: Adapters) -> None:
    """In place, every layer of every stack.  InputError where there is none, and where there are adapters already."""
    for layers, number in placed_layers(body):
        layer: Any = layers[number]
        if isinstance(layer, AdaptedLayer):
            raise InputError("adapter: this model has adapters already; tune the model that they were put into")
        check_plain(layer, "adapter")
        parts = ["attention", *(["source"] if layer.source is not None else []), "feedforward"]
        chosen = parts if config.form == "houlsby" else parts[-1:]
        width = layer.attention.out.out_features
        layers[number] = AdaptedLayer.of(layer, {part: Adapter(width, config) for part in chosen}, config.form)


def check_plain(layer: Layer, name: str) -> None:
    """InputError for a layer that computes otherwise than `Layer` does, so that one of another class would not say the same."""
    if type(layer) is not Layer or hasattr(layer.feedforward, "before"):
        raise InputError(
            f"{name}: a {type(layer).__name__} of this model has no place for it; {option('method', 'lora', 'full')} tunes it"
        )


def placed_layers(body: nn.Module, way: str = "tuned") -> list[tuple[nn.ModuleList, int]]:
    """Where the layers of a body stand: in which list, and at what number.  InputError for a body that has none."""
    found = [
        (part, number)
        for part in body.modules()
        if isinstance(part, nn.ModuleList)
        for number, layer in enumerate(part)
        if isinstance(layer, Layer)
    ]
    if not found:
        full = f" to tune; {option('method', 'full')} tunes it" if way == "tuned" else f", which is what can be {way}"
        raise InputError(f"{type(body).__name__} has no layers of attention and feed-forward{full}")
    return found
