"""Relative positions in buckets (Raffel et al. 2020, section 2.1): a number for each head and bucket of distances, added to the scores.

Near distances have a bucket each, further ones share them, the wider the further; one table serves all layers of a stack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.buckets import BucketPosition


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """`buckets` for distances below `distance`, beyond which all share the last.  `ahead`: whether tokens see what comes after them, so
    that half of the buckets are for that."""

    buckets: int = 32
    distance: int = 128
    ahead: bool = True

    def __post_init__(self):
        require(self.buckets >= 4, f"model.positions.buckets: {self.buckets} is below 4")
        require(
            self.distance > self.buckets // 2,
            f"model.positions.distance: {self.distance} must be above half of the {self.buckets} buckets",
        )

    def for_decoder(self) -> "Buckets":
        return replace(self, ahead=False)

    def build(self, model: Any) -> "BucketPosition":
        from bertsmith.nn.modules.buckets import BucketPosition

        return BucketPosition(self, model.heads)

    def parameters(self, model: Any) -> int:
        return self.buckets * model.heads
