"""How the tokens of a layer read others: all that their ranks let them see, or near ones; and a source.  n tokens, m <= n of them read,
N tokens of a source, d width, h heads, e = d / h.

A part is a configuration that builds an `Attention` for each layer; what it is computed by stands in modules/attention.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.attending import Attention, SourceAttention
    from bertsmith.nn.modules.positions import Position
    from bertsmith.nn.modules.sliding import SlidingAttention


@dataclass(frozen=True, kw_only=True)
class Full:
    """Every token reads all that its stream lets it see.  `bias`: of the four matrices.  `head`: the width of each head (null: the model's,
    divided by their number).  `scaled`: scores are divided by the root of that; where they are not (T5), weights begin smaller."""

    bias: bool = True
    head: int | None = None
    scaled: bool = True

    def check(self, model: Any) -> None:
        """InputError where the heads cannot share the model's width."""
        require(self.head is None or self.head > 0, f"model.attention.head: {self.head} must be above 0, or null")
        below = model.width // model.heads * model.heads
        near = min((w for w in (below, below + model.heads) if w), key=lambda w: abs(w - model.width))
        require(
            self.head is not None or model.width % model.heads == 0,
            f"model: heads ({model.heads}) must divide width ({model.width}); nearest width: {near}",
        )

    def inner(self, model: Any) -> int:
        """Width of all heads together."""
        return model.heads * (self.head or model.width // model.heads)

    def window_of(self, layer: int) -> int | None:
        """How far the tokens of a layer see to either side; None: as far as the stream lets them."""
        return None

    def build(self, model: Any, layer: int, positions: Position | None) -> "Attention":
        from bertsmith.nn.modules.attending import Attention

        window, inner = self.window_of(layer), self.inner(model)
        return Attention(model.width, model.heads, model.dropout, self.bias, positions, window, inner, self.scaled)

    def build_source(self, model: Any) -> "SourceAttention":
        from bertsmith.nn.modules.attending import SourceAttention

        return SourceAttention(model.width, model.heads, model.dropout, self.bias, self.inner(model), self.scaled)

    def parameters(self, model: Any) -> int:
        """Of one layer's; those that read a source have as many."""
        inner = self.inner(model)
        return 4 * model.width * inner + self.bias * (3 * inner + model.width)


@dataclass(frozen=True, kw_only=True)
class Local(Full):
    """Tokens read `window` tokens to either side (Beltagy et al. 2020); in the first of every `every` layers all (ModernBERT), null: in none."""

    window: int = 64
    every: int | None = None
    free: ClassVar[tuple[str, ...]] = ("window",)  # what a model that goes on may have otherwise

    def __post_init__(self):
        require(self.window > 0, f"model.attention.window: {self.window} must be above 0")
        require(self.every is None or self.every > 0, f"model.attention.every: {self.every} must be above 0, or null")

    def window_of(self, layer: int) -> int | None:
        return None if self.every and layer % self.every == 0 else self.window


@dataclass(frozen=True, kw_only=True)
class Sliding(Full):
    """Tokens read `window` places to either side; those that the stream calls wide read all, by matrices of their own, and all read them
    (Beltagy et al. 2020, section 3).

    `windows`, `gaps`: of each layer, the lowest first, the last of them of all above; (): all `window`, none.  A gap of g takes every g-th
    place (dilation), in the last `gapped` heads; null: in all.
    """

    window: int = 256
    windows: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()
    gapped: int | None = None
    wide: ClassVar[bool] = True  # whether there are tokens that read all: a task says which

    def __post_init__(self):
        for name, found in (("window", (self.window,)), ("windows", self.windows), ("gaps", self.gaps)):
            require(min(found, default=1) > 0, f"model.attention.{name}: {min(found, default=1)} must be above 0")

    def check(self, model: Any) -> None:
        super().check(model)
        require(
            self.gapped is None or 0 <= self.gapped <= model.heads,
            f"model.attention.gapped: {self.gapped} of {model.heads} heads",
        )

    def window_of(self, layer: int) -> int:
        return self.windows[min(layer, len(self.windows) - 1)] if self.windows else self.window

    def gap_of(self, layer: int) -> int:
        return self.gaps[min(layer, len(self.gaps) - 1)] if self.gaps else 1

    def build(self, model: Any, layer: int, positions: Position | None) -> "SlidingAttention":
        from bertsmith.nn.modules.sliding import SlidingAttention

        made = (model.width, model.heads, model.dropout, self.bias, positions)
        window, gap, inner = self.window_of(layer), self.gap_of(layer), self.inner(model)
        gapped = model.heads if self.gapped is None else self.gapped
        return SlidingAttention(*made, window, inner, self.scaled, gap=gap, gapped=gapped if gap > 1 else 0)

    def parameters(self, model: Any) -> int:
        return super().parameters(model) + 3 * self.inner(model) * (model.width + self.bias)
