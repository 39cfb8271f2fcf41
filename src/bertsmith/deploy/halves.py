"""One of the models of a member that has several, as a model by itself: a generator, or what it was trained for, which is the first of them and what
fine-tuning takes; without its head where transformers has no class with such a one."""

from __future__ import annotations

from dataclasses import replace

from bertsmith.deploy.hf import family_of
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.member import blank
from bertsmith.objectives.predict import Trunk
from bertsmith.spelling import option
from bertsmith.training.saving import load_weights


def half_of(loaded: Loaded, name: str | None, headed: bool = False) -> Loaded:
    """`loaded` itself where it has no halves; `headed`: with its head, whether transformers has a class for that or not.

    InputError for a half that it does not have."""
    if not hasattr(loaded.recipe.objective, "halves"):
        if name is not None:
            raise InputError(
                f"{option('half', name)}: {printable(loaded.run)} has one model only; leave the option out"
            )
        return loaded
    halves = loaded.recipe.objective.halves(loaded.recipe.model)
    name = next(iter(halves)) if name is None else name
    if name not in halves:
        raise InputError(f"{option('half', name)}: unknown; {nearest(name, halves)}")
    model, objective, names = halves[name]
    recipe = replace(loaded.recipe, model=model, objective=objective)
    if not headed and {*objective.weights()} <= {*family_of(recipe).alone}:
        recipe, names = replace(recipe, objective=Trunk(pooler=objective.pooler)), {"model.": names["model."]}
    member = blank(recipe)
    weights = {
        new + tensor_name.removeprefix(old): tensor
        for old, new in names.items()
        for tensor_name, tensor in loaded.member.state_dict().items()  # under every name that it has, not the first alone
        if tensor_name.startswith(old)
    }
    load_weights(member, weights, printable(loaded.run))
    return replace(loaded, member=member.eval(), recipe=recipe)
