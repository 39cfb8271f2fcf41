"""Vectors of tokens made of the characters that they are spelled with (Kim et al. 2016, as ELMo has it): no row of a table is a token's own.

c bytes of a token, f filters in all, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.characters import CharacterEmbeddings

SYMBOLS = 262  # 0 for nothing, 256 bytes, and five that are no bytes: a text's two ends, a word's two ends, filler (Peters et al. 2018)
# Peters et al. 2018: 2,048 filters of widths 1 to 7.
FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))


@dataclass(frozen=True, kw_only=True)
class Characters:
    """A token's UTF-8 bytes, each a vector of `size` numbers; `filters` (width, how many) over them, the largest of each anywhere in the
    token, ReLU; `highways` layers that mostly let through at first; a matrix to the model's width.

    A token of more than `longest` bytes, its two ends counted, loses its end.  A piece that goes on with a word has no beginning.
    """

    size: int = 16
    filters: tuple[Any, ...] = FILTERS
    highways: int = 2
    longest: int = 50
    segments: ClassVar[int] = 0
    width: ClassVar[None] = None
    asks: ClassVar[bool] = False
    knows_corpus: ClassVar[bool] = True  # training/given.py: how tokens are written

    def __post_init__(self):
        object.__setattr__(self, "filters", tuple(map(tuple, self.filters)))
        require(self.size > 0, f"model.embeddings.size: {self.size} must be above 0")
        require(self.highways >= 0, f"model.embeddings.highways: {self.highways} is negative; 0 = none")
        pairs = all(len(one) == 2 and all(isinstance(n, int) and n > 0 for n in one) for one in self.filters)
        require(
            bool(self.filters) and pairs,
            f"model.embeddings.filters: {self.filters}: expected pairs of a width and how many, such as [[1, 32], [2, 32]]",
        )
        widest = max(width for width, _ in self.filters)
        require(
            self.longest >= max(3, widest),
            f"model.embeddings.longest: {self.longest} is below the widest filter ({widest}) or a byte between two ends (3)",
        )

    @property
    def count(self) -> int:
        """f."""
        return sum(many for _, many in self.filters)

    def build(self, model: Any) -> "CharacterEmbeddings":
        from bertsmith.nn.modules.characters import CharacterEmbeddings

        return CharacterEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        convolutions = sum((width * self.size + 1) * many for width, many in self.filters)
        highways = self.highways * 2 * self.count * (self.count + 1)
        return SYMBOLS * self.size + convolutions + highways + (self.count + 1) * model.width
