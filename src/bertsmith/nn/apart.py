"""What is put into a body once for each of several feeds, so that each is read by parts of its own beside those that all have in common.

What chooses among them stands in modules/apart.py: whoever reads a feed says so there (`reading`), and the layers go by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Any `surgery` of layers, for each of `feeds`; what is read as none of them finds the body as it was.

    Keys: those that the surgery brings, with `apart.feed_<feed>` behind the number of their layer."""

    surgery: Any
    feeds: tuple[str, ...]

    brings: ClassVar[tuple[str, ...]] = ("*.apart.*",)  # names of parameters

    def __post_init__(self):
        require(
            bool(self.feeds) and len({*self.feeds}) == len(self.feeds),
            f"surgery.feeds: {list(self.feeds)} must be at least one, each once",
        )

    def of(self, feed: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if the parts of one feed were all that was put into it; of none of its feeds: nothing was."""
        own = f".apart.{module_of(feed)}."
        return {name.replace(own, ".", 1): x for name, x in weights.items() if own in name or ".apart." not in name}

    def operate(self, body: nn.Module) -> None:
        """As the surgery does, from the global torch generator, in the order of the feeds."""
        from bertsmith.nn.modules.apart import part

        part(body, self)


def module_of(feed: str) -> str:
    """How what belongs to a feed is called among a module's parts, whose own names a feed may have ("train")."""
    return f"feed_{feed}"


def one_of(surgery: Any, feed: str, weights: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """What is put into the body, and the weights, of a member that reads one feed alone; "": what belongs to no feed."""
    if not isinstance(surgery, Apart):
        return surgery, weights
    return surgery.surgery if feed in surgery.feeds else None, surgery.of(feed, weights)
