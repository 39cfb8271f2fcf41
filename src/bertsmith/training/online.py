"""Online descent: the objective moves its own weights, one example after another, and no gradient of an update is ever added up.

A configuration of an objective that can do so has `online(recipe)`: what does the work and its version, or an InputError where it cannot; `online_pays`: whether it is
much faster.  What it builds has `moved(model, batch, rate)`: the sum of each loss term, as the examples of a batch (NumPy) found the weights, and the length
of the way that they moved them over the rate.  Of an optimizer there are the groups left, whose rate the schedule sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bertsmith.data.batch import Batch
from bertsmith.errors import InputError
from bertsmith.recipe import ONLINE, Recipe
from bertsmith.spelling import option, setting

NAME = f"schedule.optimizer: {ONLINE}"


class Online(torch.optim.Optimizer):
    """One rate for all that learns, and no state."""

    def __init__(self, groups: list[dict[str, Any]], lr: float):
        super().__init__(groups, {"lr": lr})

    def moved(self, member: nn.Module, batch: Batch) -> tuple[dict[str, float], float]:
        """A batch is learned: the sum of each term, and the length of the way over the rate."""
        return member.objective.moved(member.model, batch, self.param_groups[0]["lr"])

    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """Nothing is left to do."""


def engine(recipe: Recipe) -> dict[str, str]:
    """What makes the updates of such a recipe beside torch, and its version; {} of any other.  InputError where it cannot."""
    return recipe.objective.online(recipe) if recipe.schedule.optimizer == ONLINE else {}


def check(recipe: Recipe, processes: int, place: torch.device) -> None:
    """InputError where there are several processes or another device, and without what does the work (`engine`)."""
    if recipe.schedule.optimizer != ONLINE:
        return
    if processes > 1:
        raise InputError(
            f"{NAME} is one example after another, in one process; {processes} are here, which adagrad learns in"
        )
    if place.type != "cpu":
        raise InputError(f"{NAME} computes on the CPU; {option('device', 'cpu')}")
    engine(recipe)


def pays(recipe: Recipe) -> list[str]:
    """A line where it is much faster than what is asked for."""
    if recipe.schedule.optimizer == ONLINE or not getattr(recipe.objective, "online_pays", False):
        return []
    return [f"{setting('schedule.optimizer', value=ONLINE)} is much faster here, at rates of its own (docs/words.md)"]
