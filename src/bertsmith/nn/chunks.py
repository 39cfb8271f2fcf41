"""Layers that read by chunks, and layers whose attention is of several kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.nn.attending import Full
from bertsmith.nn.axial import Axial
from bertsmith.nn.positions import Learned, Unplaced
from bertsmith.nn.rotary import Rotary

if TYPE_CHECKING:
    from bertsmith.nn.modules.chunks import ChunkAttention
    from bertsmith.nn.modules.positions import Position

PLACED = (Learned, Axial, Rotary, Unplaced)  # schemes that add nothing to scores


def check_placed(model: Any, what: str) -> None:
    """InputError where positions add to scores, which `what` does not know."""
    require(
        isinstance(model.positions, PLACED),
        f"model.positions: {type(model.positions).__name__} adds to scores, which {what} does not know; {', '.join(kind.__name__ for kind in PLACED)} do not",
    )


@dataclass(frozen=True, kw_only=True)
class Chunks(Full):
    """Texts are cut into chunks of `chunk` tokens; a token reads its own, `before` of those before it and `after` of those behind it.
    `wraps`: before the first stands the last, and behind that the first (transformers' Reformer)."""

    bias: bool = False
    chunk: int = 64
    before: int = 1
    after: int = 0
    wraps: bool = False

    def __post_init__(self):
        require(self.chunk > 0, f"model.attention.chunk: {self.chunk} must be above 0")
        for name in ("before", "after"):
            require(getattr(self, name) >= 0, f"model.attention.{name}: {getattr(self, name)} must not be below 0")

    @property
    def sides(self) -> tuple[int, ...]:
        return tuple(range(-self.before, self.after + 1))

    def check(self, model: Any) -> None:
        super().check(model)
        require(self.scaled, "model.attention.scaled: attention by chunks divides its scores; set it to true")
        check_placed(model, "attention by chunks")

    def window_of(self, layer: int) -> int:
        return self.chunk * max(len(self.sides) - 1, 1)

    def build(self, model: Any, layer: int, positions: Position | None) -> "ChunkAttention":  # type: ignore[override]
        from bertsmith.nn.modules.chunks import ChunkAttention

        return ChunkAttention(self, model)


@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """The attention of each layer, the lowest first, and again from the first where there are more layers than `parts`."""

    parts: tuple[Any, ...]

    def __post_init__(self):
        require(bool(self.parts), "model.attention.parts: none; one for a layer at least is wanted")

    @property
    def bias(self) -> bool:
        return self.parts[0].bias

    @property
    def wide(self) -> bool:
        return any(getattr(part, "wide", False) for part in self.parts)

    def of_layer(self, layer: int) -> Any:
        return self.parts[layer % len(self.parts)]

    def check(self, model: Any) -> None:
        for part in self.parts:
            part.check(model)
        require(
            model.share not in ("all", "attention") or len(self.parts) == 1,
            f"model.share: {model.share}, but model.attention.parts are {len(self.parts)} kinds; name one",
        )

    def window_of(self, layer: int) -> int | None:
        return self.of_layer(layer).window_of(layer)

    def build(self, model: Any, layer: int, positions: Position | None) -> Any:
        return self.of_layer(layer).build(model, layer, positions)

    def build_source(self, model: Any) -> Any:
        return self.parts[0].build_source(model)

    def inner(self, model: Any) -> int:
        """Width of all heads together, in the first layer."""
        return self.parts[0].inner(model)
