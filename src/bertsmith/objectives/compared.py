"""Classes of two texts that are read apart: what a head knows of them is their vectors (Conneau et al. 2017, InferSent)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.objectives.supervised import Classify, reads

if TYPE_CHECKING:
    from bertsmith.objectives.modules.compared import Compared

INFERSENT = "infersent"
FEATURES = 4  # [u; v; |u - v|; u * v]


@dataclass(frozen=True, kw_only=True)
class Compare(Classify):
    """A layer and the classes over [u; v; |u - v|; u * v] of the vectors u and v of both texts (section 3.1 and figure 1); `pool`: what a vector
    is made of, max in the paper."""

    def build(self, model: Body) -> Compared:
        from bertsmith.nn.modules.heads import PairHead
        from bertsmith.objectives.modules.compared import Compared
        from bertsmith.objectives.modules.supervised import Weighing

        read = FEATURES * reads(outer(model.config), self.pool)
        head: Any = PairHead(model.config.width, self.classes, self.dropout, "tanh", read)
        how = (self.class_weights, self.focal, self.smoothing)
        return Compared(head, self.pool, "both", Weighing(*how) if any(how) else None, outer(model.config))

    def parameters(self, model: BodyConfig) -> int:
        width, read = model.width, FEATURES * reads(outer(model), self.pool)
        looks = outer(model) if self.pool == "attention" else 0
        return looks + (read + 1) * width + (width + 1) * self.classes

    @property
    def vectors(self) -> dict[str, Any]:
        """How the model says a text's vector, where `embed` can make it so."""
        return {"pool": self.pool, "normalise": False} if self.pool in ("cls", "mean", "max") else {}
