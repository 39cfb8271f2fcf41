"""A body that is a table: what it says of a token is the token's own vector.  Entities and relations of a knowledge graph have one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.table import Table


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """It satisfies `body.BodyConfig`.  `unit`: the first so many vectors are read at length 1, wherever they stand (TransE's entities)."""

    vocab: int  # follows the graph
    width: int
    unit: int = 0
    norm: Any = field(default_factory=LayerNorm)  # of heads
    layers: ClassVar[int] = 1  # what the vectors are, as a depth
    dropout: ClassVar[float] = 0.0
    longest: ClassVar[None] = None
    segments: ClassVar[int] = 0
    reads_segments: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads
    depth: ClassVar[int] = 0

    def __post_init__(self):
        for name in ("vocab", "width"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(
            0 <= self.unit <= self.vocab,
            f"model.unit: {self.unit} is not between 0 and the {self.vocab} of model.vocab",
        )

    @property
    def inner(self) -> int:
        return self.width

    def parameters(self) -> int:
        return self.vocab * self.width

    def build(self) -> Table:
        from bertsmith.nn.modules.table import Table

        return Table(self)
