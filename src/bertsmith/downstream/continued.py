"""How a model is gone on with: by which objective, which of its heads are fresh, and in which stages.

A stage is a pre-training from the one before.  Where the model lacks a head that it is asked through, a first stage teaches that head alone,
on the text of the second, the trunk as it was: so that there is a before to compare with, and a head that says nothing yet does not spoil
the trunk (Kumar et al. 2022, section 3, of linear probing before tuning).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertsmith.config import Settings, assignments_of, override
from bertsmith.errors import InputError, nearest, printable
from bertsmith.recipe import Group, Recipe, find, members
from bertsmith.spelling import an, option
from bertsmith.training.budget import Budget
from bertsmith.training.start import SIZE, heads_lacking, member_of, recipe_for

HEAD = "head"  # the stage of a fresh one
HEAD_SHARE = 0.5  # of the budget, that it has: as many updates as the trunk has behind it
HEAD_LR = 1e-3  # of a head that begins with nothing, over a trunk that stays
PLAIN = (
    "roberta"  # the objective of a model that has no head for pairs: tokens alone, of texts as they follow one another
)
BATCH = 2048  # tokens of an update: a text of one's own is small, and many small updates go further in minutes
EXAMS = 10  # of a stage of so many steps
EVERY = 50  # updates from exam to exam where minutes decide how many there are
HELD_OUT = 16384  # tokens that an exam reads


@dataclass(frozen=True, kw_only=True)
class Way:
    """The objective by its recipe, as the model has its shapes, and the heads that it does not have."""

    name: str
    recipe: Recipe
    fresh: tuple[str, ...]

    @classmethod
    def of(
        cls, model: str | Path, objective: str | None, set: Settings, pairs: bool, say: Callable[[str], None]
    ) -> Way:
        """`pairs`: whether the texts have documents of several sentences, of which pairs can be made.  InputError for a model, or an objective, that learns nothing of tokens of a text."""
        name = objective or member_of(model)
        if name not in members():
            what = (
                option("objective", name)
                if objective
                else f"{printable(model)}: is of {printable(name)}, a recipe of your own"
            )
            raise InputError(f"{what}; {option('objective')} names a member without a size: {nearest(name, members())}")
        recipe = recipe_for(name, model)
        _check_fits(name, recipe, model)
        _check_asks(recipe, model if objective is None else option("objective", objective))
        fresh = heads_lacking(model, recipe)
        if objective is None and "pair" in recipe.objective.weights() and ("pair" in fresh or not pairs):
            why = f"{printable(model)} has no head for pairs of texts"
            say(
                f"{why if pairs else 'most documents are a single sentence'}: tokens alone are asked for, as of {PLAIN}"
            )
            name, recipe = PLAIN, recipe_for(PLAIN, model)
            fresh = heads_lacking(model, recipe)
        recipe = override(recipe, {"training.batch": max(BATCH, recipe.layout.length), "training.held_out": HELD_OUT})
        recipe = override(recipe, set)
        if fresh:
            say(
                f"{printable(model)}: has no {' and no '.join(fresh)} head; {'it begins' if len(fresh) == 1 else 'they begin'} fresh"
            )
        chosen = {assignment.partition("=")[0] for assignment in assignments_of(set)}
        evaluate = recipe.training.evaluate if "training.evaluate" in chosen else 0
        return cls(
            name=name,
            recipe=replace(recipe, brief=None, training=replace(recipe.training, evaluate=evaluate)),
            fresh=fresh,
        )

    def stage(self, name: str, budget: Budget, shares: tuple[float, ...]) -> Recipe:
        """The recipe of a stage: its exams, what share of each text it reads; of a head the trunk stays."""
        training = replace(self.recipe.training, shares=shares)
        if not training.evaluate:
            training = replace(training, evaluate=self._every(budget))
        recipe = replace(self.recipe, training=training)
        if name != HEAD:
            return recipe
        groups = (*recipe.schedule.groups, Group(part="model", rate=0.0))
        return replace(recipe, schedule=replace(recipe.schedule, lr=HEAD_LR, groups=groups))

    def _every(self, budget: Budget) -> int:
        if budget.minutes is not None:
            return EVERY
        steps = budget.steps if budget.steps is not None else (budget.tokens or 0) / self.recipe.training.batch
        return max(1, round(steps / EXAMS))


def budgets(budget: Budget, stages: list[str]) -> dict[str, Budget]:
    """What each stage has of it: a fresh head a half, the others alike of the rest."""
    share = {HEAD: HEAD_SHARE} if HEAD in stages else {}
    rest = [name for name in stages if name != HEAD]
    share |= dict.fromkeys(rest, (1 - sum(share.values())) / len(rest))
    return {name: _part(budget, share[name]) for name in stages}


def _part(budget: Budget, share: float) -> Budget:
    (name, value), *_ = budget.given.items()
    return Budget(**{name: value * share if name == "minutes" else max(1, round(value * share))})


def _check_fits(name: str, recipe: Recipe, model: str | Path) -> None:
    """InputError where a member asks what such a body has no part for."""
    own = find(f"{name}:{SIZE}").model
    parts = {"decodes": "a decoder", "asks": "tokens that only ask"}
    lacks = [
        what for part, what in parts.items() if getattr(own, part, False) and not getattr(recipe.model, part, False)
    ]
    if type(own) is not type(recipe.model):
        lacks = [f"a body that is {an(type(own).__name__)}"]
    if lacks:
        raise InputError(
            f"{option('objective', name)}: it wants {lacks[0]}, which {printable(model)} has not; take the objective of a member of its own kind"
        )


def _check_asks(recipe: Recipe, what: Any) -> None:
    why = ""
    if recipe.reads != "tokens":
        why = "reads sound"
    elif recipe.mixture is not None:
        why = "reads several feeds of one store"
    elif "token" not in recipe.objective.weights():
        why = "is asked for no tokens of a text"
    elif getattr(recipe.model, "decodes", False):
        why = "writes with a decoder, and says nothing of a text alone that could be compared"
    if why:
        raise InputError(
            f"{printable(what)}: {recipe.name} {why}; `pretrain --from` goes on with any model, here a member that is asked for tokens is wanted"
        )
