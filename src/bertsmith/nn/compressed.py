"""What a body that was trained is made smaller by: each is a value of `Recipe.surgery`, which config.json keeps, so that a smaller model is a
model like any other.  A matrix is (o, d).  What they are computed by stands in modules/compressed.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class FewerHeads:
    """Layer i has `heads[i]` heads of attention, as wide as they were; the others' rows and columns are gone (Michel et al. 2019)."""

    heads: tuple[int, ...]

    still: ClassVar[bool] = False  # whether nothing of it can learn

    def __post_init__(self):
        require(all(count > 0 for count in self.heads), f"heads: {list(self.heads)}: a layer keeps one at least")

    def operate(self, body: nn.Module) -> None:
        """In place.  InputError for a body whose layers are not as many, or whose places are part of each head."""
        from bertsmith.nn.modules.compressed import narrow

        narrow(body, self.heads)


@dataclass(frozen=True, kw_only=True)
class Factored:
    """Every matrix of the layers is the product of two, (o, r) and (r, d), where these are smaller than it: `rate` says r by the share of its
    numbers that they have together."""

    rate: float = 0.5

    still: ClassVar[bool] = False

    def __post_init__(self):
        require(0 < self.rate < 1, f"rate: {self.rate:g} is not between 0 and 1")

    def rank(self, out: int, width: int) -> int:
        return max(1, int(self.rate * out * width / (out + width)))

    def operate(self, body: nn.Module) -> None:
        from bertsmith.nn.modules.compressed import factor

        factor(body, self)


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Every matrix of the layers has a mask: what it hides is 0, has no gradient, and stays 0 whatever is learned."""

    still: ClassVar[bool] = False

    def operate(self, body: nn.Module) -> None:
        from bertsmith.nn.modules.compressed import mask

        mask(body)


@dataclass(frozen=True, kw_only=True)
class Int8:
    """Matrices of the layers and the tables of embeddings as whole numbers from -127 to 127, with a scale for each row; what is read is rounded
    anew in every product, by its own largest number ("dynamic").  Norms, biases and heads stay as they were.  Nothing of it learns."""

    still: ClassVar[bool] = True

    def operate(self, body: nn.Module) -> None:
        from bertsmith.nn.modules.compressed import quantise

        quantise(body)


@dataclass(frozen=True, kw_only=True)
class Int8Fixed:
    """As `Int8`, but what is read is rounded by one range for every text, which was looked for or learned beforehand ("static").  `outputs`:
    whether what matrices say is rounded, too; those of queries, keys and values have a range each."""

    outputs: bool = False

    still: ClassVar[bool] = True

    def operate(self, body: nn.Module) -> None:
        from bertsmith.nn.modules.compressed import fix

        fix(body, self.outputs)


@dataclass(frozen=True, kw_only=True)
class Int8Aware:
    """A body that learns in float32 what eight bits will make of it (Q8BERT, Zafrir et al. 2019): matrices of the layers, the tables of embeddings,
    and what matrices read and say (`outputs`) stand on grids of 255 numbers, and gradients go straight through.  A matrix and a table by their
    largest number, what is read and said by a moving average, `decay`, of each update's largest; a matrix that joins queries, keys and
    values is three.  Norms, biases, softmax and heads stay as they are."""

    decay: float = 0.9999
    outputs: bool = True

    still: ClassVar[bool] = False
    brings: ClassVar[tuple[str, ...]] = ("*.most", "*.updates")  # names of what is kept

    def __post_init__(self):
        require(0 <= self.decay < 1, f"int8.decay: {self.decay:g} is not in [0, 1)")

    def operate(self, body: nn.Module) -> None:
        from bertsmith.nn.modules.compressed import learn_eight

        learn_eight(body, self)
