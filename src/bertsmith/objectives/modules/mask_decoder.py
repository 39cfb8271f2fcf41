"""The last layer, asked by states that know their place.  n tokens, m <= n of them read, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import fill, first, initialise, pick
from bertsmith.objectives.modules.predict import Prediction

if TYPE_CHECKING:
    from bertsmith.objectives.mask_decoder import MaskDecoder


class DecodedPrediction(Prediction):
    """The decoder's own part is `objective.positions`; its layer is the body's."""

    config: Any

    def __init__(self, config: MaskDecoder, model: Any):
        super().__init__(config, model)
        self.positions = initialise(config.positions.build(model.config))

    def encoded(self, model: Any, stream: Stream, read: Tensor, output: Stream | None = None) -> Tensor:
        """(m, d) what the heads read at the flat indices `read` (m,): the rows of the last layer's own output are never made."""
        body = getattr(model, "body", model)
        below, last = body.states(stream, len(body.layers) - 1)[-1], body.layers[-1]
        said, keys = fill(pick(self.positions.embed(below, stream), read)), fill(below)
        for _ in range(self.config.times):
            said = last(keys, stream, body.positions, read, asking=said)
        said = said if body.norm is None else body.norm(said)
        return body.dropout(first(said, read.shape[0]))
