"""Texts as vectors: the texts of a row are read each by itself, and how near they are to each other is what is learned.  Losses are sums.

`cosine`, `triplet`: of each row alone.  `cosent`, `negatives`, `symmetric`: of all rows of an update together, in however many passes and
processes it is made (training/together.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bertsmith.config import require
from bertsmith.errors import nearest
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.objectives.predict import Summarised

if TYPE_CHECKING:
    from bertsmith.objectives.modules.vectors import VectorsObjective

TERM = "vector"
SCORED = ("cosine", "cosent")  # of two texts and a number
PAIRED = ("negatives", "symmetric")  # of two texts that belong together, and perhaps one that does not
LOSSES = (*SCORED, *PAIRED, "triplet")
WRITTEN = "tsdae"  # of texts alone: each is written from its vector (objectives/denoising.py)


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """`loss`: cosine: the squared difference of cosine and number (Reimers & Gurevych 2019, section 3).
    cosent: log(1 + the sum of exp(scale (cosine of a pair - cosine of another)) over pairs of pairs whose numbers stand the other way (Su 2022).
    negatives: which of the second texts of the update belongs to a first one, by cross-entropy over `scale` times the cosines (Henderson et al.
    2017, section 4; SimCSE's, where a text is its own pair: Gao et al. 2021).  symmetric: the mean of that and of which first text belongs to a second.
    triplet: max(|a - p| - |a - n| + margin, 0) (Reimers & Gurevych 2019, section 3).

    `sizes`: the sum of the loss over the vector and its first so many numbers (Kusupati et al. 2022, equation 1, all weights 1).
    """

    loss: Literal["cosine", "cosent", "negatives", "symmetric", "triplet"] = "cosine"
    parts: int = 2  # texts of a row
    scale: float = 20.0
    margin: float = 1.0
    sizes: tuple[int, ...] = ()
    pool: Literal["cls", "mean"] = "mean"
    pooler: Summarised = "tanh"  # of the summary that the model would have: whose family it is

    def __post_init__(self):
        require(self.loss in LOSSES, f"objective.loss: {self.loss!r}: unknown; {nearest(str(self.loss), LOSSES)}")
        require(self.parts in (2, 3), f"objective.parts: {self.parts} is neither 2 nor 3")
        require(self.scale > 0, f"objective.scale: {self.scale} must be above 0")
        require(self.margin > 0, f"objective.margin: {self.margin} must be above 0")

    @property
    def joint(self) -> bool:
        """Whether what a row is asked depends on the other rows of the update."""
        return self.loss in ("cosent", *PAIRED)

    def build(self, model: Body) -> VectorsObjective:
        from bertsmith.objectives.modules.vectors import VectorsObjective

        width = outer(model.config)
        require(
            all(0 < size < width for size in self.sizes), f"sizes: {[*self.sizes]}: numbers below {width} are wanted"
        )
        return VectorsObjective(self)

    def parameters(self, model: BodyConfig) -> int:
        return 0

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}
