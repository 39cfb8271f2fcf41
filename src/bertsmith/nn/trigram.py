"""Tokens by threes: a narrow table whose neighbours stand side by side (Sun et al. 2020, MobileBERT, section 3.2).  n tokens, d width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.trigram import TrigramEmbeddings


@dataclass(frozen=True, kw_only=True)
class Trigram:
    """The next token, this one and the one before, `width` numbers each, through a matrix to the model's width; segment and position are added to
    that, a norm on the sum, dropout.  A neighbour that is not there, or not seen, is zeros."""

    width: int = 128  # of the token table
    segments: int = 2  # 0: no segment embedding
    asks: ClassVar[bool] = False
    neighbours: ClassVar[bool] = True  # are a part of what a token is, and so is padding where others pad

    def __post_init__(self):
        require(self.width > 0, f"model.embeddings.width: {self.width} must be above 0")
        require(self.segments >= 0, f"model.embeddings.segments: {self.segments} is negative; 0 = no segment embedding")

    def placed(self, model: Any) -> int:
        """Positions are added behind the matrix."""
        return model.width

    def build(self, model: Any) -> "TrigramEmbeddings":
        from bertsmith.nn.modules.trigram import TrigramEmbeddings

        return TrigramEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        beside = (3 * self.width + 1 + self.segments) * model.width + model.norm.parameters(model.width)
        return model.vocab * self.width + beside
