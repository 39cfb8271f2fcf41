"""Low-rank updates of matrices that stay as they are (LoRA, Hu et al. 2022).  r rank; a matrix is (o, d).

Written here and not taken from peft: see docs/decisions/2026-11-27-ways-to-tune.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn

PARTS = ("attention", "source", "feedforward")


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """W x becomes W x + (alpha / r) B A x: A (r, d) is drawn, B (o, r) begins as 0, so that at first nothing changes.

    `parts`: of each layer; all matrices of these have one, where the paper mostly has queries and values alone.  Queries, keys and values
    are one matrix here, so that they share A, as those of GPT-2 do in peft.
    """

    rank: int = 8
    alpha: float = 16.0
    parts: tuple[str, ...] = ("attention", "source")

    brings: ClassVar[tuple[str, ...]] = ("*.low_in", "*.low_out")  # names of parameters

    def __post_init__(self):
        require(self.rank > 0, f"lora.rank: {self.rank} must be above 0")
        require(self.alpha > 0, f"lora.alpha: {self.alpha:g} must be above 0")
        require(
            bool(self.parts) and {*self.parts} <= {*PARTS},
            f"lora.parts: {list(self.parts)}: some of {', '.join(PARTS)} are wanted",
        )

    def check(self, width: int) -> None:
        """InputError for more ranks than a matrix has whose smaller side is so wide."""
        require(
            self.rank <= width,
            f"lora.rank: {self.rank}: the model's matrices have {width} rows or columns, and no update has a higher rank; lower it",
        )

    def operate(self, body: nn.Module) -> None:
        """Fresh ones beside every matrix of the parts, from the global torch generator.  InputError for a body without layers."""
        from bertsmith.nn.modules.lowrank import lower

        lower(body, self)
