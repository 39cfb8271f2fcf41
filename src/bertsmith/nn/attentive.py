"""An encoder and a decoder that are recurrent, the second of which attends to what the first says (Bahdanau et al. 2015; CoVe's: McCann et al. 2017).

It stands in `model.topology` of a recurrent stack, which is the encoder.  d numbers of the encoder's states, directions together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.attentive import Translator

Score = Literal["dot", "general", "additive"]


@dataclass(frozen=True, kw_only=True)
class Attentive:
    """`layers`: of the decoder, from left to right, each of d units; null = as many as the encoder has.  It has a token table of its own.

    `score`: how what it remembers is compared with a state of the source: their product, through a matrix (Luong et al. 2015, equation 8, with
    a bias as in McCann et al.), or by a layer (Bahdanau et al. 2015).
    """

    layers: int | None = None
    score: Score = "general"
    alone: ClassVar[str] = "encoder"  # whose states are those of a text about which nothing is written

    def __post_init__(self):
        require(
            self.layers is None or self.layers > 0, f"model.topology.layers: {self.layers} must be above 0, or null"
        )
        known = get_args(Score)
        require(self.score in known, f"model.topology.score: {self.score!r} is not one of {', '.join(known)}")

    def check(self, model: Any) -> None:
        require(model.memory is None, "model.memory: an encoder of sources keeps none; set it to null")

    def deep(self, model: Any) -> int:
        """Layers of the decoder."""
        return self.layers or model.layers

    def encoder(self, model: Any) -> Any:
        """The configuration of the stack that reads."""
        return replace(model, topology=None)

    def reads(self, model: Any) -> list[int]:
        """Numbers that each layer of the decoder reads: a token and what was said last, then what the layer below says."""
        return [model.inner + model.outer, *[model.outer] * (self.deep(model) - 1)]

    def build(self, model: Any) -> Translator:
        from bertsmith.nn.modules.attentive import Translator

        return Translator(model)

    def parameters(self, model: Any) -> int:
        """Of the decoder."""
        wide = model.outer
        cells = sum(model.cell.parameters(reads, wide, wide) for reads in self.reads(model))
        score = {"dot": 0, "general": wide * (wide + 1), "additive": wide * (2 * wide + 2)}[self.score]
        return model.vocab * model.inner + cells + score + (2 * wide + 1) * wide
