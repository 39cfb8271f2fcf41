"""Adapters: small layers put into a body that was trained already, which learn where it stays as it is.  d width, m size.

What they are computed by stands in modules/adapters.py.  A surgery is a value of `Recipe.surgery`: it operates on a body that was built,
and knows the names of what it brought.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.feedforward import ACTIVATIONS, Activation

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Down to `size`, an activation, up again, added to what was there: 2 m d + m + d parameters each.

    houlsby (Houlsby et al. 2019, figure 2): one after every part of a block, on what it says, before that is added; a decoder's part that
    reads a source has one, too.  pfeiffer (Pfeiffer et al. 2021): one in a block; it reads the sum behind the feed-forward part as its norm
    leaves it, and what it says is added to what that part said, and goes through the norm again.
    `std`: fresh matrices are drawn from a normal cut at two of it, biases are 0, so that at first nearly nothing changes.  1e-2 is the
    paper's, which found no difference below; its released code has 1e-3, and a GELU.
    """

    size: int = 64
    form: Literal["houlsby", "pfeiffer"] = "houlsby"
    activation: Activation = "gelu"
    std: float = 1e-2
    trunk: bool = False  # whether it learns, too

    brings: ClassVar[tuple[str, ...]] = ("*.adapters.*",)  # names of parameters

    def __post_init__(self):
        require(self.size > 0, f"adapter.size: {self.size} must be above 0")
        require(self.std > 0, f"adapter.std: {self.std} must be above 0")
        require(
            self.activation in ACTIVATIONS,
            f"adapter.activation: {self.activation!r} is not one of {', '.join(ACTIVATIONS)}",
        )

    def operate(self, body: nn.Module) -> None:
        """Fresh ones into every layer of every stack, from the global torch generator.  InputError for a body without such layers."""
        from bertsmith.nn.modules.adapters import adapt

        adapt(body, self)


def brought(surgery: object, name: str) -> bool:
    """Whether a parameter of a body came with a surgery; None brings nothing."""
    return any(fnmatchcase(name, pattern) for pattern in getattr(surgery, "brings", ()))
