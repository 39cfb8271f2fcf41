"""What a class costs instead of its cross-entropy: classes that weigh more than others, texts that are known count less.  m labels, c classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """w (1 - p) ** focal times the cross-entropy, p the probability of the class that is right.

    `classes`: w of each, (): 1 of all.  `focal`: Lin et al. 2017, equation 4 (2 there; 0: none).  `smoothing`: the share of each answer that
    is spread over all classes (Szegedy et al. 2016).  Sums are divided by the number of texts as ever, not by the sum of w.
    """

    classes: tuple[float, ...] = ()
    focal: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self):
        require(all(weight >= 0 for weight in self.classes), f"class_weights: {list(self.classes)}: one is below 0")
        require(not self.classes or sum(self.classes) > 0, "class_weights: all are 0")
        require(self.focal >= 0, f"focal: {self.focal} is below 0")
        require(0 <= self.smoothing < 1, f"smoothing: {self.smoothing} is not in [0, 1)")

    def sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(m, c) and (m,) -> the sum of the losses, in float32; ignored labels cost nothing."""
        from bertsmith.objectives.modules.losses import weighed_sum

        return weighed_sum(logits, labels, self.classes, self.focal, self.smoothing)
