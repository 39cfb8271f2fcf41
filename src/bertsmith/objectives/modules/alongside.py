"""Two objectives over one reading of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import pick
from bertsmith.objectives.alongside import MAIN

if TYPE_CHECKING:
    from bertsmith.objectives.alongside import Alongside


class Seen:
    """A trunk that has read a stream already: asked for any of its places, it says what it said."""

    def __init__(self, model: Body, stream: Stream, hidden: Tensor | None = None):
        """`hidden` (n, d): what it said, where that is known."""
        self.config, self.tokens, self.body = model.config, model.tokens, model
        self._hidden = model(stream) if hidden is None else hidden

    def __call__(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        return self._hidden if read is None else pick(self._hidden, read)


class AlongsideObjective(nn.Module):
    def __init__(self, config: Alongside, model: Body):
        super().__init__()
        self.config = config
        self.add_module(MAIN, config.objective.build(model))
        self.auxiliary = config.auxiliary.build(model)

    @property
    def columns(self) -> dict[str, int]:
        return {name: count for part in self.children() for name, count in getattr(part, "columns", {}).items()}

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}, of both; the trunk reads the batch once."""
        seen: Any = Seen(model, batch.input)
        return {term: value for part in self.children() for term, value in part(seen, batch).items()}

    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        return {term: value for part in self.children() for term, value in part.scores(model, batch).items()}

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """What the main one says."""
        return self.get_submodule(MAIN).logits(model, stream, at)

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """The auxiliary takes over its heads, as they were pre-trained."""
        own = self.auxiliary.state_dict()
        found = {name: state[f"objective.{name}"] for name in own if f"objective.{name}" in state}
        self.auxiliary.load_state_dict(found)
        return (*self.get_submodule(MAIN).inherit(state), *(f"objective.{name}" for name in found))
