"""A model that is told its task (nn/tasked.py) as one that is not: the row of task 0, which texts are read as, in those of the segments.

The sum of the three tables is the same for every token, so that states are the same up to rounding.  What it was told of other tasks is gone.
"""

from __future__ import annotations

from dataclasses import replace

from bertsmith.downstream.model import Loaded
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.tasked import Tasked

SEGMENTS, TASKS = "model.embeddings.segments.weight", "model.embeddings.tasks.weight"


def untold(loaded: Loaded) -> Loaded:
    """Itself, where it is told nothing."""
    part = getattr(loaded.recipe.model, "embeddings", None)
    if not isinstance(part, Tasked):
        return loaded
    from bertsmith.nn.member import blank
    from bertsmith.training.saving import load_weights, weights_of

    recipe = replace(loaded.recipe, model=replace(loaded.recipe.model, embeddings=Summed(segments=part.segments)))
    weights = dict(weights_of(loaded.member))
    tasks = weights.pop(TASKS)
    weights[SEGMENTS] = weights[SEGMENTS] + tasks[0]
    member = blank(recipe).to(loaded.device)
    load_weights(member, weights, str(loaded.run))
    return replace(loaded, recipe=recipe, member=member.eval())
