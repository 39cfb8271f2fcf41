"""Kinds of norm.  A kind is a configuration that builds one for vectors of a width; a model has one kind, in its layers, embeddings and heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Mean 0 and deviation 1 (Ba et al. 2016), times a weight, plus a bias if there is one."""

    eps: float = 1e-12
    bias: bool = True

    def __post_init__(self):
        require(self.eps > 0, f"model.norm.eps: {self.eps} must be above 0")

    def build(self, width: int) -> nn.Module:
        from torch import nn

        return nn.LayerNorm(width, eps=self.eps, bias=self.bias)

    def parameters(self, width: int) -> int:
        return (1 + self.bias) * width


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Mean 0 and deviation 1, and nothing that is learned (Samuel et al. 2023, LTG-BERT)."""

    eps: float = 1e-7

    def __post_init__(self):
        require(self.eps > 0, f"model.norm.eps: {self.eps} must be above 0")

    def build(self, width: int) -> nn.Module:
        from torch import nn

        return nn.LayerNorm(width, eps=self.eps, elementwise_affine=False)

    def parameters(self, width: int) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class RMSNorm:
    """Mean square 1 (Zhang & Sennrich 2019), times a weight."""

    eps: float = 1e-6

    def __post_init__(self):
        require(self.eps > 0, f"model.norm.eps: {self.eps} must be above 0")

    def build(self, width: int) -> nn.Module:
        from bertsmith.nn.modules.norms import RootMeanSquare

        return RootMeanSquare(width, eps=self.eps)

    def parameters(self, width: int) -> int:
        return width


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A weight and a bias for each number and no statistics: what is left of a norm where its time is to be saved (MobileBERT's "NoNorm", Sun et
    al. 2020, section 3.3)."""

    def build(self, width: int) -> nn.Module:
        from bertsmith.nn.modules.norms import Scaled

        return Scaled(width)

    def parameters(self, width: int) -> int:
        return 2 * width


@dataclass(frozen=True, kw_only=True)
class NoNorm:
    """Nothing."""

    def build(self, width: int) -> nn.Module:
        from torch import nn

        return nn.Identity()

    def parameters(self, width: int) -> int:
        return 0
