"""Tokens to vectors.  A part is a configuration that builds the module; `model` is a TransformerConfig.  n tokens, d width.

Every part says its `segments` (rows of its segment table; 0: none), its `width` (of a factorised table; None: the model's) and whether
it `asks` (has a vector for tokens that only ask).  Its module has the table as `tokens`; None where it reads frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.embeddings import AskingEmbeddings, Embeddings, FrameEmbeddings, Looked


@dataclass(frozen=True, kw_only=True)
class Summed:
    """Token, segment and position, a norm on the sum, dropout (BERT).  With a `width` the table is factorised, projected after the norm
    (ALBERT, ELECTRA)."""

    segments: int = 2  # 0: no segment embedding
    width: int | None = None  # of the tables; null = the model's
    norm: bool = True
    asks: ClassVar[bool] = False

    def __post_init__(self):
        require(self.segments >= 0, f"model.embeddings.segments: {self.segments} is negative; 0 = no segment embedding")
        require(
            self.width is None or self.width > 0,
            f"model.embeddings.width: {self.width} must be above 0, or null for the model's",
        )

    def build(self, model: Any) -> "Embeddings":
        from bertsmith.nn.modules.embeddings import Embeddings

        return Embeddings(self, model)

    def parameters(self, model: Any) -> int:
        rows = (model.vocab + self.segments) * model.inner + (model.norm.parameters(model.inner) if self.norm else 0)
        return rows + ((model.inner + 1) * model.width if self.width else 0)


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Tokens alone, as wide as their table is, and dropout: what reads them need not be as wide."""

    width: int | None = None  # of the table; null = the model's
    segments: ClassVar[int] = 0
    asks: ClassVar[bool] = False

    def __post_init__(self):
        require(
            self.width is None or self.width > 0,
            f"model.embeddings.width: {self.width} must be above 0, or null for the model's",
        )

    def build(self, model: Any) -> "Looked":
        from bertsmith.nn.modules.embeddings import Looked

        return Looked(model)

    def parameters(self, model: Any) -> int:
        return model.vocab * model.inner

    def outer(self, model: Any) -> int:
        """Numbers of what it gives; a part without this gives the model's width."""
        return model.inner


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Tokens alone, and one learned vector for all that only ask (XLNet); its segments are relative ones, of the positions."""

    segments: ClassVar[int] = 0
    width: ClassVar[None] = None
    asks: ClassVar[bool] = True

    def build(self, model: Any) -> "AskingEmbeddings":
        from bertsmith.nn.modules.embeddings import AskingEmbeddings

        return AskingEmbeddings(model)

    def parameters(self, model: Any) -> int:
        return (model.vocab + 1) * model.width


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Frames of `model.vocab` numbers through a matrix, with positions, a norm on the sum, dropout (Mockingjay).

    `asks`: a learned vector in the place of those that only ask.
    """

    asks: bool = False
    segments: ClassVar[int] = 0
    width: ClassVar[None] = None

    def build(self, model: Any) -> "FrameEmbeddings":
        from bertsmith.nn.modules.embeddings import FrameEmbeddings

        return FrameEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        return (model.vocab + 1 + self.asks) * model.width + model.norm.parameters(model.width)
