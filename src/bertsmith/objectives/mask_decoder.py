"""DeBERTa's enhanced mask decoder (He et al. 2021a, arXiv:2006.03654, section 3.2): places are added where masks are predicted, and not before.

Who asks are the states below the last layer with the vector of their place; what is read are these states without it.  The last layer is applied to
that so often, its weights the same, each time asked by what the last time said.  The paper writes of several layers; the released code has this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.nn.body import Body
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import OneStack, TransformerConfig
from bertsmith.objectives.predict import Predict, Summarised, Trunk

if TYPE_CHECKING:
    from bertsmith.objectives.modules.mask_decoder import DecodedPrediction


@dataclass(frozen=True, kw_only=True)
class MaskDecoder:
    """Heads as of a `Predict`, which read what the decoder says.  `positions`: a scheme that adds to the embedding; `times`: that the last layer is
    applied.  Fine-tuning reads the last layer once, as it stands.  Keys: those of the heads, and `objective.positions`."""

    heads: tuple[Any, ...]
    pooler: Summarised = "tanh"
    positions: Any = field(default_factory=Learned)
    times: int = 2

    def __post_init__(self):
        require(self.times > 0, f"objective.times: {self.times} must be above 0")
        names = list(self._plain.weights())
        require("positions" not in names, f"objective.heads: {names}: 'positions' is the decoder's own name")

    @property
    def _plain(self) -> Predict:
        return Predict(heads=self.heads, pooler=self.pooler)

    @property
    def longest(self) -> int | None:
        """The most tokens that a sequence may have; None where places have no end."""
        return getattr(self.positions, "length", None)

    def build(self, model: Body) -> "DecodedPrediction":
        from bertsmith.objectives.modules.mask_decoder import DecodedPrediction

        _check(model.config)
        return DecodedPrediction(self, model)

    def weights(self) -> dict[str, float]:
        return self._plain.weights()

    def parameters(self, model: Any) -> int | None:
        """Exact number of the heads' parameters and of the places'; None where a head does not count its own."""
        _check(model)
        heads = self._plain.parameters(model)
        return None if heads is None else heads + self.positions.parameters(model)

    def halves(self, model: TransformerConfig) -> dict[str, tuple[TransformerConfig, Any, dict[str, str]]]:
        """What of it is a model elsewhere: the encoder, which no decoder stands behind."""
        return {"encoder": (model, Trunk(pooler=self.pooler), {"model.": "model."})}


def _check(model: Any) -> None:
    """InputError for a body whose last layer cannot be asked by anything but its own states."""
    stack = isinstance(model, TransformerConfig) and type(model.topology) is OneStack and model.memory is None
    made = (type(getattr(model, slot, None)).__name__ for slot in ("topology", "memory"))
    require(
        stack,
        f"objective: MaskDecoder applies the last layer again, which {type(model).__name__} with {' and '.join(made)} has not; one stack "
        "without memory is wanted",
    )
    require(
        model.placed == model.width,
        f"model.embeddings.width: {model.placed}, but MaskDecoder adds places to states of {model.width} numbers; set it to null",
    )
