"""What the layers of a recurrent stack are: how a token changes what is remembered.  A part's `build` gives a `modules.cells.Cell`.

`reads` numbers of each token go in, `units` are remembered, `says` come out; `drop`: the share of the recurrent weights that a pass leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.cells import LSTMCell, OrderedCell


@dataclass(frozen=True, kw_only=True)
class LSTM:
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates in torch's order, so that its weights are torch.nn.LSTM's.

    `projection`: what the units say goes through a matrix to the model's width (Sak et al. 2014), in every layer.  `clip`: what is remembered
    and what is projected stay within so much of 0 (ELMo's 3); 0: no limit.  `forget`: what the forget gates' biases begin at.
    """

    projection: bool = False
    clip: float = 0.0
    forget: float = 0.0

    def __post_init__(self):
        require(self.clip >= 0, f"model.cell.clip: {self.clip} is negative; 0 = no limit")

    @property
    def narrows(self) -> bool:
        """Whether every layer says as much as the model is wide, however much it remembers."""
        return self.projection

    def build(self, reads: int, units: int, says: int, drop: float = 0.0) -> "LSTMCell":
        from bertsmith.nn.modules.cells import LSTMCell

        return LSTMCell(self, reads, units, says, drop)

    def parameters(self, reads: int, units: int, says: int) -> int:
        return 4 * units * (reads + says + 2) + (units * says if self.projection else 0)


@dataclass(frozen=True, kw_only=True)
class OrderedNeurons:
    """ON-LSTM (Shen et al. 2019): units in an order, the later the longer what they remember stands; two master gates say where the part
    ends that is forgotten and the part that is written (equations 6 to 13).  `chunk` units have one number of each master gate."""

    chunk: int = 10
    narrows: ClassVar[bool] = False

    def __post_init__(self):
        require(self.chunk > 0, f"model.cell.chunk: {self.chunk} must be above 0")

    def masters(self, units: int) -> int:
        """Numbers of a master gate."""
        require(
            units % self.chunk == 0,
            f"model.cell.chunk: {self.chunk} must divide the units of every layer ({units}); nearest: {max(1, units // self.chunk) * self.chunk} units",
        )
        return units // self.chunk

    def build(self, reads: int, units: int, says: int, drop: float = 0.0) -> "OrderedCell":
        from bertsmith.nn.modules.cells import OrderedCell

        return OrderedCell(self, reads, units, says, drop)

    def parameters(self, reads: int, units: int, says: int) -> int:
        return (4 * units + 2 * self.masters(units)) * (reads + units + 2)
