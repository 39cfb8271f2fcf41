"""Models side by side that read by tokenizers of their own: what a word is to all of them is one state (Akbik et al. 2018, StackedEmbeddings).

A stream's tokens are (n, k + 1): in row i what each of the k parts reads there, or NONE, and a sign (text/side_by_side.py).  Rows of one
word stand together; each part reads its own column, without what is NONE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.body import outer
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.stacked import StackedBody

POOLS = ("cls", "mean", "last")
PIECES = ("first", "mean")


@dataclass(frozen=True, kw_only=True)
class Part:
    """`body`: of the model, which stays as it is.  `pool`: what it says of a text as a whole: at its first token, at its last, or the mean over
    all.  `mix`: its layers are mixed by weights that are learned (Peters et al. 2018, equation 1), and not the last one alone."""

    name: str  # of the member, for people
    body: Any
    pool: Literal["cls", "mean", "last"] = "mean"
    causal: bool = False
    mix: bool = False

    def __post_init__(self):
        require(self.pool in POOLS, f"model.parts.pool: {self.pool!r} is none of {', '.join(POOLS)}")

    def parameters(self) -> int:
        return self.body.parameters() + (self.body.layers + 2 if self.mix else 0)


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """It satisfies `body.BodyConfig`.  `pieces`: what a part says of a word: of its first piece, or the mean over them."""

    parts: tuple[Part, ...]
    pieces: Literal["first", "mean"] = "first"
    vocab: int  # tokens of all parts
    width: int  # numbers of a state
    dropout: float = 0.0
    norm: Any = field(default_factory=LayerNorm)  # of heads
    layers: ClassVar[int] = 1  # the embeddings, and what the parts say
    depth: ClassVar[int] = 1
    asks: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads
    whole: ClassVar[bool] = True  # the first token says what a text is as a whole

    def __post_init__(self):
        require(len(self.parts) > 1, f"model.parts: {len(self.parts)}: two or more are wanted")
        require(self.pieces in PIECES, f"model.pieces: {self.pieces!r} is neither {' nor '.join(PIECES)}")
        wide = sum(outer(part.body) for part in self.parts)
        require(self.width == wide, f"model.width: {self.width}, and the parts say {wide} numbers together")

    @property
    def learns(self) -> tuple[str, ...]:
        """Patterns of the names of what learns of it."""
        return ("model.mix*",) if any(part.mix for part in self.parts) else ()

    @property
    def inner(self) -> int:
        return self.width

    @property
    def longest(self) -> int | None:
        return min((part.body.longest for part in self.parts if part.body.longest is not None), default=None)

    @property
    def segments(self) -> int:
        return max(part.body.segments for part in self.parts)

    @property
    def reads_segments(self) -> bool:
        return any(part.body.reads_segments for part in self.parts)

    def parameters(self) -> int:
        return sum(part.parameters() for part in self.parts)

    def build(self) -> StackedBody:
        from bertsmith.nn.modules.stacked import StackedBody

        return StackedBody(self)
