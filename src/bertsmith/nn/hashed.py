"""Attention by hashing: tokens read those that a random rotation puts into the same place (Kitaev et al. 2020, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.nn.attending import Full
from bertsmith.nn.chunks import check_placed

if TYPE_CHECKING:
    from bertsmith.nn.modules.hashed import HashedAttention
    from bertsmith.nn.modules.positions import Position


@dataclass(frozen=True, kw_only=True)
class Hashed(Full):
    """Queries are keys, of length 1 as such.  In each of `rounds` tokens are sorted by their bucket and read their `chunk` and the one before
    it; itself a token reads only where it sees no other.  Sequences of one chunk are read whole.  Rotations are drawn from `seed`.

    `wraps`: before the first chunk of a round stands the last of the round before, and of the last round before the first.  `repeats`: a pair that meets in several rounds counts in each of them, not once.
    `buckets`: how many, as one number or as two that are multiplied; (): twice as many as a text has chunks.
    """

    bias: bool = False
    rounds: int = 4
    chunk: int = 64
    seed: int = 0
    wraps: bool = False
    repeats: bool = False
    buckets: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("rounds", "chunk"):
            require(getattr(self, name) > 0, f"model.attention.{name}: {getattr(self, name)} must be above 0")
        require(
            all(each > 0 and each % 2 == 0 for each in self.buckets),
            f"model.attention.buckets: {list(self.buckets)}: even numbers above 0 are wanted",
        )

    def check(self, model: Any) -> None:
        super().check(model)
        check_placed(model, "hashed attention")

    def build(self, model: Any, layer: int, positions: Position | None) -> "HashedAttention":  # type: ignore[override]
        from bertsmith.nn.modules.hashed import HashedAttention

        return HashedAttention(self, model, layer)

    def parameters(self, model: Any) -> int:
        inner = self.inner(model)
        return 3 * model.width * inner + self.bias * (2 * inner + model.width)
