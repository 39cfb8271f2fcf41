"""A bag of vectors: what it says of a text is the mean of its tokens' vectors, in whatever order they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.bag import MeanOfVectors


@dataclass(frozen=True, kw_only=True)
class Bag:
    """It satisfies `body.BodyConfig`.  The first token of a text ([CLS]) says the mean over all that follow it, or its own vector where
    nothing does; every other token its own."""

    vocab: int  # follows the store's tokenizer
    layers: int = 1  # what the vectors are, as a depth
    width: int
    dropout: float = 0.0
    norm: Any = field(default_factory=LayerNorm)  # of heads
    longest: ClassVar[None] = None
    decodes: ClassVar[bool] = False
    segments: ClassVar[int] = 0
    reads_segments: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads
    depth: ClassVar[int] = 0
    whole: ClassVar[bool] = True  # the first token says what a text is as a whole

    def __post_init__(self):
        for name in ("vocab", "width"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(self.layers == 1, f"model.layers: {self.layers}: a bag of vectors has one")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")

    @property
    def inner(self) -> int:
        return self.width

    def parameters(self) -> int:
        return self.vocab * self.width

    def build(self) -> MeanOfVectors:
        from bertsmith.nn.modules.bag import MeanOfVectors

        return MeanOfVectors(self)
