"""How a head reads a pair in several steps: a stochastic answer network (Liu et al. 2018, arXiv:1804.07888; 2019, MT-DNN, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.san import SanHead


@dataclass(frozen=True, kw_only=True)
class San:
    """`steps` readings of the first text, led by the second; what each says is averaged.  `drop`: the share of the steps that is left out of
    that while a model learns, never all of them."""

    steps: int = 5
    drop: float = 0.1
    sep: int | None = None  # the token that parts the texts of a pair; the tokenizer says it

    def __post_init__(self):
        require(self.steps > 0, f"san.steps: {self.steps} is below 1")
        require(0 <= self.drop < 1, f"san.drop: {self.drop} is not in [0, 1)")

    def build(self, width: int, outputs: int, dropout: float) -> SanHead:
        from bertsmith.nn.modules.san import SanHead

        assert self.sep is not None  # a task knows its tokenizer
        return SanHead(width, outputs, self.steps, self.drop, dropout, self.sep)

    def parameters(self, width: int, outputs: int) -> int:
        look, lead, memory = width, width * width, 6 * (width * width + width)
        return look + lead + memory * (self.steps > 1) + (4 * width + 1) * outputs
