"""Stages that a run is too short for: said before it starts, with what would reach them."""

from __future__ import annotations

import math
from typing import Any

from bertsmith.data.mixture import Mixture, Stages
from bertsmith.spelling import amount, option, setting
from bertsmith.training.budget import Extent


def unreached(feed: Any, steps: int, extent: Extent) -> list[str]:
    """A warning, where a curriculum of passes (of a select) or of steps (of a mixture) has stages that begin after `steps`; else nothing."""
    if isinstance(feed, Mixture):
        begins = feed.shares.begins() if isinstance(feed.shares, Stages) else []
        late = [(name, begin) for name, begin in zip(feed.feeds, begins, strict=False) if begin >= steps]
        return (
            [_said(amount(steps, "step"), late, f"{option('steps', late[0][1] + 1)} reaches {late[0][0]}")]
            if late
            else []
        )
    corruption = getattr(feed, "corruption", None)
    if not hasattr(getattr(corruption, "select", None), "begins"):
        return []
    select, copies = corruption.select, corruption.copies or math.inf  # static views begin again
    read = steps * extent.per_step / extent.tokens
    late = [(level, begin) for level, begin in select.begins() if begin >= min(read, copies)]
    if not late:
        return []
    level, begin = late[0]
    if begin >= copies:
        return [
            _said(
                f"corruption.copies={copies} begins anew after so many passes",
                late,
                f"{setting('corruption.copies', value=0)} does not",
            )
        ]
    needed = math.floor(begin * extent.tokens / extent.per_step) + 1
    way = f"{option('steps', needed)} reaches {level}, {setting('corruption.select.passes', value=select.within(read))} makes room for all stages"
    return [
        _said(
            f"{amount(steps, 'step is', 'steps are')} {amount(read, 'pass', 'passes', '.2g')} over the corpus",
            late,
            way,
        )
    ]


def layers_said(recipe: Any, steps: int) -> list[str]:
    """Of layers that learn one after another: when, and what follows.  InputError where a layer has no update."""
    stages, layers = recipe.schedule.stages, getattr(recipe.model, "layers", 0)
    if stages is None:
        return []
    last = stages.ends(steps, layers)[-1]
    then = (
        f"then all together for {steps - last:,}"
        if last < steps
        else "and the run ends with the last of them, or before"
    )
    kept = f"those below at {stages.below:g} of the rate" if stages.below else "those below frozen"
    return [f"{amount(layers, 'layer')} one after another, {last / layers:,.3g} steps each, {kept}; {then}"]


def _said(what: str, late: list[tuple[str, Any]], way: str) -> str:
    names, begin = (
        " and ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)
        for parts in zip(*late, strict=True)
    )
    return f"warning: {what}: {names} {'is' if len(late) == 1 else 'are'} never reached (after {begin}); {way}"
