"""A recipe as a member: its modules, and how many parameters they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertsmith.nn.modules.member import MemberModel


def build(recipe: Any) -> MemberModel:
    """Fresh weights for a recipe, from the global torch generator."""
    from bertsmith.nn.modules.member import MemberModel

    model = recipe.model.build()
    objective = recipe.objective.build(model)
    if recipe.surgery is not None:
        recipe.surgery.operate(model)
    return MemberModel(model, objective)


def blank(recipe: Any) -> MemberModel:
    """The same modules with zeros for what would be drawn, for weights that are loaded: quicker, and no generator moves."""
    from bertsmith.nn.modules.drawn import Undrawn

    with Undrawn():
        return build(recipe)


def parameters(recipe: Any) -> int:
    """Exact number of parameters, heads included and tied ones once; nothing is allocated.

    Configurations count their own; a member with a head of one's own that does not, or with something put into its body, is built without
    memory, and counted.
    """
    heads = recipe.objective.parameters(recipe.model) if hasattr(recipe.objective, "parameters") else None
    if heads is not None and recipe.surgery is None:
        return recipe.model.parameters() + heads
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in build(recipe).parameters())
