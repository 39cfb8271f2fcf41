"""Disentangled attention (He et al. 2021a, arXiv:2006.03654, section 3.1): tokens and distances are vectors of their own, and each asks the other.

score(q, k) = q k + q K(distance) + Q(distance) k, divided by the root of (1 + terms) times a head's width.  Distances have one table for all
layers; the matrices that make K and Q of it are those of the tokens (version 2 and 3) or a layer's own (version 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require
from bertsmith.nn.attending import Full

if TYPE_CHECKING:
    from bertsmith.nn.modules.disentangled import DisentangledAttention, DistanceTable
    from bertsmith.nn.modules.positions import Position

Term = Literal["c2p", "p2c"]  # a token asks a distance, a distance asks a token
TERMS: tuple[Term, ...] = ("c2p", "p2c")


@dataclass(frozen=True, kw_only=True)
class Distances:
    """A vector for each distance, or each bucket of them, for attention that reads such.

    `buckets`: to either side; half of them hold one distance each, the others ever more, up to `distance`, beyond which all share the last
    (null: each distance below `distance` has its own).  `norm`: a norm on the table, of the `kind`; null: the model's.
    """

    buckets: int | None = 256
    distance: int = 512
    norm: bool = True
    kind: Any = None

    def __post_init__(self):
        require(self.distance > 1, f"model.positions.distance: {self.distance} must be above 1")
        require(
            self.buckets is None or self.buckets >= 4,
            f"model.positions.buckets: {self.buckets} is below 4; null: one for each distance",
        )
        require(
            self.buckets is None or self.distance > self.buckets // 2 + 1,
            f"model.positions.distance: {self.distance} must be above {(self.buckets or 0) // 2 + 1}, half of the {self.buckets} buckets and one",
        )

    @property
    def side(self) -> int:
        """Rows for what stands before a token; as many are for itself and what comes after."""
        return self.buckets or self.distance

    def check(self, model: Any) -> None:
        """InputError where nothing would read the table."""
        name = type(model.attention).__name__
        require(
            isinstance(model.attention, Disentangled),
            f"model.attention: {name} reads no vectors of distances; with positions {type(self).__name__} it is Disentangled",
        )

    def build(self, model: Any) -> "DistanceTable":
        from bertsmith.nn.modules.disentangled import DistanceTable

        return DistanceTable(self, model)

    def parameters(self, model: Any) -> int:
        return 2 * self.side * model.width + (self.kind_of(model).parameters(model.width) if self.norm else 0)

    def kind_of(self, model: Any) -> Any:
        return model.norm if self.kind is None else self.kind


@dataclass(frozen=True, kw_only=True)
class Disentangled(Full):
    """`terms`: which of both ask.  `places`: distances go through the matrices of the tokens ("shared") or others of the layer ("own").

    `gated`: what heads say is multiplied by the GELU of one more projection of who asks; `norm`: kind of a norm on what they say, before
    the last matrix, null: none (Charpentier & Samuel 2024, GPT-BERT).
    """

    terms: tuple[Term, ...] = TERMS
    places: Literal["shared", "own"] = "shared"
    gated: bool = False
    norm: Any = None

    def __post_init__(self):
        require(
            bool(self.terms) and len({*self.terms}) == len(self.terms) and {*self.terms} <= {*TERMS},
            f"model.attention.terms: {list(self.terms)}: {' and '.join(TERMS)}, or one of them",
        )

    def check(self, model: Any) -> None:
        super().check(model)
        name = type(model.positions).__name__
        require(
            isinstance(model.positions, Distances),
            f"model.positions: {name} has no vectors of distances, which Disentangled attention reads; set it to Distances",
        )

    def build(self, model: Any, layer: int, positions: Position | None) -> "DisentangledAttention":
        from bertsmith.nn.modules.disentangled import DisentangledAttention

        return DisentangledAttention(self, model)

    def parameters(self, model: Any) -> int:
        own = len(self.terms) * (model.width + self.bias) * self.inner(model)
        gate = (model.width + self.bias) * self.inner(model) if self.gated else 0
        norm = 0 if self.norm is None else self.norm.parameters(self.inner(model))
        return super().parameters(model) + (own if self.places == "own" else 0) + gate + norm
