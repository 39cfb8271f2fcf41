"""Heads, and how large and how quick the states are that they read.  m tokens asked, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from bertsmith.data.batch import Batch, Target
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import pick
from bertsmith.objectives.modules.predict import Prediction, filled, gathered, places
from bertsmith.objectives.regular import ACTIVATION, TEMPORAL

if TYPE_CHECKING:
    from bertsmith.objectives.regular import Regular


class RegularPrediction(Prediction):
    config: Regular

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}, float32 scalars; 0 where nothing is asked."""
        if not hasattr(model, "said"):  # a stand-in, of a task that this is asked beside
            return super().forward(model, batch)
        asked = {name: filled(target) for name, target in self._asked(batch).items()}
        if not asked:
            return {}
        read, rows = gathered({name: places(target) for name, target in asked.items()})
        raw, said = model.said(batch.input, read)
        found = {
            name: self._loss(name, pick(said, rows[name]), model, batch.input, target) for name, target in asked.items()
        }
        at = batch.input.positions[read]
        follows = (at.diff() == 1)[:, None]
        found[ACTIVATION] = said.float().pow(2).mean(-1).sum()
        found[TEMPORAL] = (raw.float().diff(dim=0) * follows).pow(2).mean(-1).sum()
        return found

    def _asked(self, batch: Batch) -> dict[str, Target]:
        return {name: target for name, target in super()._asked(batch).items() if name not in self.config.again}
