"""Adaptive embeddings and softmax (Grave et al. 2017, Baevski & Auli 2019): frequent tokens first, the rest in clusters that are read on demand.

A token's id is its place in the order of frequency, as trained tokenizers number them, nearly.  n tokens, m predictions, d width, V
vocabulary; cluster 0 is the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.adaptive import AdaptiveEmbeddings


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Embeddings of tokens in clusters, times the square root of their width, without a norm (Transformer-XL).  `cutoffs`: ids at which clusters begin; those beyond the vocabulary are none.  `divide`: each cluster's vectors are so many times
    narrower than those of the one before."""

    cutoffs: tuple[int, ...] = (20_000, 40_000, 200_000)
    divide: int = 1
    segments: ClassVar[int] = 0
    width: ClassVar[None] = None
    asks: ClassVar[bool] = False

    def __post_init__(self):
        ascending = all(a < b for a, b in pairwise((0, *self.cutoffs)))
        require(ascending, f"model.embeddings.cutoffs: {list(self.cutoffs)} must ascend from above 0")
        require(self.divide >= 1, f"model.embeddings.divide: {self.divide} is below 1")

    def shapes(self, vocab: int, width: int) -> list[tuple[int, int, int]]:
        """(first id, behind the last, width of its vectors) of each cluster.  InputError where one has none."""
        edges = [0, *(cutoff for cutoff in self.cutoffs if cutoff < vocab), vocab]
        widths = [width // self.divide**number for number in range(len(edges) - 1)]
        require(
            widths[-1] > 0,
            f"model.embeddings.divide: {self.divide} leaves no width to the last of {len(widths)} clusters",
        )
        return [(low, high, own) for (low, high), own in zip(pairwise(edges), widths, strict=True)]

    def build(self, model: Any) -> "AdaptiveEmbeddings":
        from bertsmith.nn.modules.adaptive import AdaptiveEmbeddings

        return AdaptiveEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        shapes, width = self.shapes(model.vocab, model.width), model.width
        return sum((high - low) * own + (width * own if own < width else 0) for low, high, own in shapes)
