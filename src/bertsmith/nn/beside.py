"""Bodies side by side: each reads the text by itself, and a state is theirs, one behind the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.nn.body import outer

if TYPE_CHECKING:
    from bertsmith.nn.modules.beside import SideBySide

FOLLOW = ("vocab", "layers", "width", "hidden", "dropout")  # fields that the bodies have of it


@dataclass(frozen=True, kw_only=True)
class Beside:
    """It satisfies `body.BodyConfig`; `bodies` are configurations of bodies, which share no weight.

    Numbers stand here and hold for every body: `width` is that of each, so that states have as many times as many; `hidden` null leaves
    each its own.
    """

    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    hidden: int | None = None
    dropout: float = 0.1
    bodies: tuple[Any, ...]
    asks: ClassVar[bool] = False
    decodes: ClassVar[bool] = False

    def __post_init__(self):
        require(len(self.bodies) > 1, f"model.bodies: {len(self.bodies)}: two or more are wanted")
        for name in ("vocab", "layers", "width"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        odd = next((body for body in self.each if body.layers != self.each[0].layers), None)
        require(odd is None, "model.bodies: have other numbers of layers than one another; states stand side by side")

    @cached_property
    def each(self) -> tuple[Any, ...]:
        """The bodies with the numbers that stand here."""
        numbers = {name: getattr(self, name) for name in FOLLOW if getattr(self, name) is not None}
        return tuple(
            replace(body, **{name: n for name, n in numbers.items() if name in {f.name for f in fields(body)}})
            for body in self.bodies
        )

    @property
    def outer(self) -> int:
        return sum(map(outer, self.each))

    @property
    def inner(self) -> int:
        return self.each[0].inner

    @property
    def longest(self) -> int | None:
        return min(self._ends, default=None)

    @property
    def _ends(self) -> Iterator[int]:
        return (body.longest for body in self.each if body.longest is not None)

    @property
    def segments(self) -> int:
        return min(body.segments for body in self.each)

    @property
    def reads_segments(self) -> bool:
        return any(body.reads_segments for body in self.each)

    @property
    def activation(self) -> str:
        return self.each[0].activation

    @property
    def norm(self) -> Any:
        return self.each[0].norm

    @property
    def whole(self) -> bool:
        """Whether the first token says what a text is as a whole."""
        return all(getattr(body, "whole", False) for body in self.each)

    @property
    def depth(self) -> int:
        return max(body.depth for body in self.each)

    def parameters(self) -> int:
        return sum(body.parameters() for body in self.each)

    def build(self) -> SideBySide:
        from bertsmith.nn.modules.beside import SideBySide

        return SideBySide(self)
