"""Which frame stood here?  b numbers of a frame, d width.  A head of `Predict` (predict.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bertsmith.config import require
from bertsmith.nn.body import Body, BodyConfig

if TYPE_CHECKING:
    from bertsmith.objectives.modules.frames import FrameTerm


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The numbers of a frame, by a dense layer, activation, norm and a matrix; the loss of a frame is the mean over its numbers: absolute
    differences (Mockingjay), or Huber's, squared up to 1 (Speech-XLNet)."""

    name: str = "frames"
    loss: Literal["l1", "huber"] = "l1"
    weight: float = 1.0

    def __post_init__(self):
        require(self.loss in ("l1", "huber"), f"objective: {self.name}.loss: {self.loss!r} is neither 'l1' nor 'huber'")

    def build(self, model: Body) -> "FrameTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.frames import FrameTerm

        return initialise(FrameTerm(model.config, self.loss))

    def parameters(self, model: BodyConfig) -> int:
        return (model.width + 1) * (model.width + model.vocab) + model.norm.parameters(model.width)
