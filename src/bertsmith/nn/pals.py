"""Projected attention layers: attention of a small width beside each layer of a body that was trained already.  d width, s size, L layers.

What they are computed by stands in modules/pals.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Pals:
    """gelu(V^D g(V^E h)) of what a layer reads, h, is added to what its feed-forward part says, before the norm (Stickland & Murray 2019,
    equations 4 and 5): 2 s d + 3 L s^2 matrices, and biases.

    V^E (s, d) and V^D (d, s) are shared by the layers of a stack; g is attention of all heads together s wide, with queries, keys and values of
    its own in each layer and no matrix behind them.  Norm and GELU stand where the released code has them, which the equations leave out.
    V^D begins as 0, so that at first nothing changes; `std`: all else is drawn from a normal cut at two of it.
    """

    size: int | None = None  # null: 204 of 768 of the width, as in the paper, in whole numbers for each head
    trunk: bool | None = None  # whether it learns, too; null: where several tasks have it in common
    std: float = 0.02

    brings: ClassVar[tuple[str, ...]] = ("*.pal.*",)  # names of parameters

    def __post_init__(self):
        require(self.size is None or self.size > 0, f"pal.size: {self.size} must be above 0")
        require(self.std > 0, f"pal.std: {self.std} must be above 0")

    def width(self, model: int, heads: int) -> int:
        """`size` in a model so wide.  InputError where the heads cannot share it."""
        found = self.size or heads * max(1, round(model * 204 / 768 / heads))
        near = heads * max(1, round(found / heads))
        require(found % heads == 0, f"pal.size: {found}: the model's {heads} heads must divide it; nearest: {near}")
        require(found <= model, f"pal.size: {found} is more than the model's width, {model}; lower it")
        return found

    def operate(self, body: nn.Module) -> None:
        """Fresh ones beside every layer, from the global torch generator.  InputError for a body without layers."""
        from bertsmith.nn.modules.pals import project

        project(body, self)
