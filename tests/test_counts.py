"""Configurations count their parameters without torch, and the members that they build have just so many."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bertsmith.config import override
from bertsmith.nn.member import build, parameters
from bertsmith.nn.positions import Learned
from bertsmith.nn.relative import Relative
from bertsmith.objectives.boundary import Boundary
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.objectives.predict import Also, Pair, Predict, Summary, Tokens, Trunk
from bertsmith.objectives.replaced import ReplacedTokens, Restore, RestoreOrCopy
from bertsmith.objectives.supervised import Classify, Regress, Span, Tag
from bertsmith.recipe import find, members

RECIPES = [f"{member.name}:{size}" for member in members().values() for size in member.sizes]
TOKENS = Predict(heads=(Tokens(),))
OBJECTIVES = {
    "no head": Trunk(),
    "a table without a dense layer": Predict(heads=(Tokens(transform=False),)),
    "a head that two terms share": Predict(heads=(Tokens(), Also(name="again"), Pair(classes=3), Summary())),
    "spans": Predict(heads=(Tokens(), Boundary(limit=7, positions=13))),
    "a generator of its own": ReplacedTokens(share="none", generator=0.5, layers=0.5),
    "a generator with the model's tables": ReplacedTokens(share="embeddings", generator=0.5),
    "a generator as wide as the model": ReplacedTokens(share="embeddings", generator=1.0),
    "a generator that is the model": ReplacedTokens(share="all", generator=1.0, head=Restore()),
    "tables that part by a difference": ReplacedTokens(share="disentangled", generator=1.0, layers=0.5),
    "a head that copies": ReplacedTokens(generator=0.5, head=RestoreOrCopy()),
    "classes": Classify(classes=5),
    "a number": Regress(),
    "tags": Tag(classes=9),
    "tags by an LSTM": Tag(classes=9, head="lstm"),
    "tags by an LSTM and a CRF": Tag(classes=9, head="lstm-crf"),
    "answers": Span(),
    "a mixture": Mixed(
        parts=(Part(feed="a", objective=TOKENS), Part(feed="b", of="a"), Part(feed="c", objective=Span()))
    ),
}
MODELS = {
    "BERT": [],
    "a factorised table": ["model.embeddings.width=24"],
    "a factorised table without a norm": ["model.embeddings.width=24", "model.embeddings.norm=false"],
    "no segments": ["model.embeddings.segments=0"],
    "layers that are one": ["model.share=all"],
    "norms without a bias": ["model.norm.bias=false"],
}


def built(recipe) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(recipe).parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_counts_what_its_member_has(name):
    recipe = find(name)
    assert recipe.objective.parameters(recipe.model) is not None
    assert parameters(recipe) == built(recipe)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_counts_its_heads(objective, model):
    recipe = override(replace(find("bert:tiny").with_vocab(300), objective=OBJECTIVES[objective]), MODELS[model])
    assert recipe.model.parameters() + recipe.objective.parameters(recipe.model) == built(recipe)


@pytest.mark.parametrize("places", [Learned(length=64), Relative(), Relative(segments=True, tied=True)])
@pytest.mark.parametrize("share", ["none", "embeddings"])
def test_a_generator_counts_the_positions_that_are_its_own(places, share):
    recipe = find("electra:tiny").with_vocab(300)
    recipe = replace(recipe, layout=replace(recipe.layout, length=64), model=replace(recipe.model, positions=places))
    recipe = replace(recipe, objective=ReplacedTokens(share=share, generator=0.5))
    assert recipe.model.parameters() + recipe.objective.parameters(recipe.model) == built(recipe)


def test_a_head_of_ones_own_need_not_count():
    class Head(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.out = torch.nn.Linear(width, 7)

    own = SimpleNamespace(name="mine", weight=1.0, build=lambda model: Head(model.config.width))
    recipe = find("bert:tiny").with_vocab(300)
    recipe = replace(recipe, objective=Predict(heads=(own, Tokens())))
    assert recipe.objective.parameters(recipe.model) is None
    assert parameters(recipe) == built(recipe)
    recipe = replace(recipe, objective=Mixed(parts=(Part(feed="a", objective=recipe.objective),)))
    assert parameters(recipe) == built(recipe)
