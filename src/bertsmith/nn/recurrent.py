"""Stacks that read a text token by token.  Here is what such a body is configured by; a cell is a part of its own (gru.py).

It satisfies `body.BodyConfig`; a cell's `build(model)` gives a `body.Body`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.errors import InputError
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.norms import LayerNorm


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """ELMo, ULMFiT, CoVe.  `hidden`: of a cell; what a layer says is projected to `width` where these differ."""

    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    hidden: int
    dropout: float = 0.1
    embeddings: Any = field(default_factory=lambda: Summed(segments=0, norm=False))
    cell: Any = None  # a part that builds the layers
    directions: Literal["forward", "both"] = "forward"
    norm: Any = field(default_factory=LayerNorm)  # of heads
    longest: ClassVar[None] = None
    decodes: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")

    @property
    def inner(self) -> int:
        return self.embeddings.width or self.width

    @property
    def segments(self) -> int:
        return self.embeddings.segments

    @property
    def reads_segments(self) -> bool:
        return self.segments > 0

    @property
    def asks(self) -> bool:
        return self.embeddings.asks

    @property
    def whole(self) -> bool:
        """Whether the first token says what a text is as a whole."""
        return getattr(self.cell, "whole", "none") == "first"

    @property
    def depth(self) -> int:
        return self.layers

    def parameters(self) -> int:
        return self._cell.parameters(self)

    def build(self) -> Any:
        return self._cell.build(self)

    @property
    def _cell(self) -> Any:
        if self.cell is None:
            raise InputError("model.cell: null; a recurrent stack needs a part that builds its layers")
        return self.cell
