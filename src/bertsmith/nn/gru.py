"""Layers of gated recurrent units (Cho et al. 2014), from the left or from both sides: the cell of Skip- and Quick-Thought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.gru import GruStack

GATES = 3
WHOLE = ("first", "none")


@dataclass(frozen=True, kw_only=True)
class Gru:
    """A cell of `nn.recurrent.Recurrent`, whose `hidden` is that of one direction.

    `whole`: where a text's vector is read.  first: at its first token, which says what each direction says when it has read all, so that
    whoever reads [CLS] reads that; none: every token says what was read up to it.
    """

    whole: Literal["first", "none"] = "first"

    def __post_init__(self):
        require(self.whole in WHOLE, f"model.cell.whole: {self.whole!r} is neither {' nor '.join(WHOLE)}")

    def build(self, model: Any) -> GruStack:
        from bertsmith.nn.modules.gru import GruStack

        entering = entering_of(model)
        require(
            entering <= model.width,
            f"model.embeddings.width: {entering} is above model.width ({model.width}), and states stand beside embeddings; at most as wide",
        )
        return GruStack(self, model)

    def parameters(self, model: Any) -> int:
        sides = sides_of(model)
        own = model.embeddings.parameters(model)
        for number in range(model.layers):
            entering = model.width if number else entering_of(model)
            own += sides * GATES * model.hidden * (entering + model.hidden + 2)
            own += (sides * model.hidden + 1) * model.width if sides * model.hidden != model.width else 0
        return own


def sides_of(model: Any) -> int:
    return 2 if model.directions == "both" else 1


def entering_of(model: Any) -> int:
    """Numbers that the first layer reads of a token."""
    return model.embeddings.outer(model) if hasattr(model.embeddings, "outer") else model.width
