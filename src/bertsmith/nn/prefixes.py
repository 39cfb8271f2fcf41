"""Prefixes: vectors that stand in front of every text in each layer of a body that was trained already, and learn where it stays as it is.

What they are computed by stands in modules/prefixes.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """`length` states in front of each sequence, others in each layer, which its tokens read and which ask nothing (Li & Liang 2021; in
    every layer of an encoder: P-tuning v2, Liu et al. 2022).

    Both learn keys and values; here states are learned, and a layer's own matrices make its keys and values of them: d numbers each in
    place of 2 d.  `std`: fresh ones are drawn from a normal of it.
    """

    length: int = 16
    std: float = 0.02

    brings: ClassVar[tuple[str, ...]] = ("*.prefix",)  # names of parameters

    def __post_init__(self):
        require(self.length > 0, f"prefix.length: {self.length} must be above 0")
        require(self.std > 0, f"prefix.std: {self.std} must be above 0")

    def operate(self, body: nn.Module) -> None:
        """Fresh ones in front of every layer, from the global torch generator.  InputError for a body whose layers go by how far apart
        tokens are, have a memory, or read a source."""
        from bertsmith.nn.modules.prefixes import prefix

        prefix(body, self)
