"""Which of a sequence's entities is meant by a mention?  (Zhang et al. 2019, equation 6: the denoising entity auto-encoder)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require
from bertsmith.nn.body import Body, BodyConfig

if TYPE_CHECKING:
    from bertsmith.objectives.modules.entities import EntityTerm


@dataclass(frozen=True, kw_only=True)
class Entities:
    """By the product of a linear map of the mention's first token and the vector of each different entity that the sequence asks about.
    The released code chooses among those of the batch, and puts GELU and a norm behind the map; then what is learned would hang on what else is
    read."""

    name: str = "entity"
    weight: float = 1.0

    def build(self, model: Body) -> EntityTerm:
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.entities import EntityTerm

        require(
            hasattr(model, "vectors"),
            "model.topology: has no vectors of entities, but the objective asks for them; take one that has, or leave the entity head out",
        )
        return initialise(EntityTerm(model.config.width, model.config.topology.width))

    def parameters(self, model: BodyConfig) -> int:
        return (model.width + 1) * model.topology.width  # type: ignore[attr-defined]
