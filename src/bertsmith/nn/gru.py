"""Layers of gated recurrent units (Cho et al. 2014), from the left or from both sides: the bodies of Skip- and Quick-Thought."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.embeddings import Lookup
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.gru import GruStack

GATES = 3
DIRECTIONS, SUMMARY = ("forward", "both"), ("first", "none")


@dataclass(frozen=True, kw_only=True)
class Gru:
    """It satisfies `body.BodyConfig`.  `hidden`: of one direction; what a layer says is projected to `width` where these differ.

    `summary`: where a text's vector is read.  first: at its first token, which says what each direction says when it has read all, so that
    whoever reads [CLS] reads that; none: every token says what was read up to it.
    """

    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    hidden: int
    dropout: float = 0.1
    embeddings: Any = field(default_factory=Lookup)
    directions: Literal["forward", "both"] = "forward"
    summary: Literal["first", "none"] = "first"
    norm: Any = field(default_factory=LayerNorm)  # of heads
    longest: ClassVar[None] = None
    decodes: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        for name, known in (("directions", DIRECTIONS), ("summary", SUMMARY)):
            value = getattr(self, name)
            require(value in known, f"model.{name}: {value!r} is neither {' nor '.join(known)}")
        require(
            self.entering <= self.width,
            f"model.embeddings.width: {self.entering} is above model.width ({self.width}), and states stand beside embeddings; at most as wide",
        )

    @property
    def inner(self) -> int:
        return self.embeddings.width or self.width

    @property
    def entering(self) -> int:
        """Numbers that the first layer reads of a token."""
        return self.embeddings.outer(self) if hasattr(self.embeddings, "outer") else self.width

    @property
    def sides(self) -> int:
        return 2 if self.directions == "both" else 1

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
        return self.summary == "first"

    @property
    def depth(self) -> int:
        return self.layers

    def parameters(self) -> int:
        own = self.embeddings.parameters(self)
        for number in range(self.layers):
            entering = self.width if number else self.entering
            own += self.sides * GATES * self.hidden * (entering + self.hidden + 2)
            own += (self.sides * self.hidden + 1) * self.width if self.sides * self.hidden != self.width else 0
        return own

    def build(self) -> GruStack:
        from bertsmith.nn.modules.gru import GruStack

        return GruStack(self)
