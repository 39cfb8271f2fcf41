"""What a model keeps of the sequences that it has read, for those that go on where they stopped (Dai et al. 2019, section 3.2).

Of each column the inputs of all layers, without gradient.  n tokens read now, N with the memory before them, d width, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """`length`: tokens before a sequence that a layout of columns lets it see at most; 0: none, for now."""

    length: int

    def __post_init__(self):
        require(self.length >= 0, f"model.memory.length: {self.length} is negative; 0 = none")

    def build(self, model: Any) -> "Memory | None":
        from bertsmith.nn.modules.memory import Memory

        return Memory(self.length) if self.length else None
