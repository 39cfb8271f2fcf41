"""What the weights of a body begin as.  A part is a configuration; `begin(body)` draws from the global torch generator and returns the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Normal:
    """BERT's: matrices and tables from a normal of 0.02 cut at two sigma, biases 0, norms 1."""

    def begin(self, body: nn.Module) -> nn.Module:
        from bertsmith.nn.modules.blocks import initialise

        return initialise(body)


@dataclass(frozen=True, kw_only=True)
class ByWidth:
    """LTG-BERT's: matrices and tables from a normal of variance 2 / 5 over the model's width, cut at two sigma; those of feed-forward parts in
    layer i, from 0, smaller by the square root of 2 (i + 1)."""

    def begin(self, body: nn.Module) -> nn.Module:
        from bertsmith.nn.modules.initial import begin_by_width

        return begin_by_width(body)


@dataclass(frozen=True, kw_only=True)
class FanIn:
    """T5's: every matrix from a normal whose variance is one over what goes in, of queries over the width of a head, too, as scores are
    not scaled; the token table from one of variance 1."""

    def begin(self, body: nn.Module) -> nn.Module:
        from bertsmith.nn.modules.initial import begin_by_fan_in

        return begin_by_fan_in(body)


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Tables from a uniform distribution within so much of 0 (Zaremba et al. 2014, Merity et al. 2018); matrices as their modules begin."""

    within: float = 0.1

    def __post_init__(self):
        require(self.within > 0, f"model.initial.within: {self.within} must be above 0")

    def begin(self, body: nn.Module) -> nn.Module:
        from bertsmith.nn.modules.initial import begin_tables

        return begin_tables(body, self.within)
