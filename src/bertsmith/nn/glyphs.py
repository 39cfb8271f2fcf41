"""Chinese characters by what they look like (Meng et al. 2019, "Glyce: Glyph-vectors for Chinese Character Representations")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.glyphs import GlyphEmbeddings


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """A vector of the picture of each token that is one Chinese character, by a small convolutional network (section 2.2, with pictures of 24
    points where the paper has 12, and a layer more); segment and position are added, a norm on the sum, dropout.

    `beside`: the picture's vector is added to a learned one (section 2.4 does so by a matrix over both).  `alone`: it takes the learned one's
    place, which tokens without a picture have, and the output layer.  Pictures are drawn when a run begins and stand in its steps, so that
    a trained model needs no font.
    """

    how: Literal["beside", "alone"] = "beside"
    channels: int = 64  # of the first layer
    font: str | None = None  # a file; null: that of the extra `glyphs`
    segments: int = 2  # 0: no segment embedding
    side: ClassVar[int] = 24  # points
    width: ClassVar[None] = None
    norm: ClassVar[bool] = True
    asks: ClassVar[bool] = False
    knows_corpus: ClassVar[bool] = True  # training/given.py: pictures

    def __post_init__(self):
        require(self.channels > 0, f"model.embeddings.channels: {self.channels} must be above 0")
        require(self.segments >= 0, f"model.embeddings.segments: {self.segments} is negative; 0 = no segment embedding")

    def build(self, model: Any) -> GlyphEmbeddings:
        from bertsmith.nn.modules.glyphs import GlyphEmbeddings

        return GlyphEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        first, second = self.channels * (25 + 1), 2 * self.channels * (4 * self.channels + 1)
        network = first + second + model.width * (8 * self.channels + 1)
        return (model.vocab + self.segments) * model.width + model.norm.parameters(model.width) + network
