"""ERNIE of Tsinghua (Zhang et al. 2019, arXiv:1905.07129): BERT whose upper layers read the knowledge-graph vectors of linked entities, and
which is asked which entity a mention means.  The store is prepared with `--links` and `--entity-vectors`."""

from dataclasses import replace
from functools import partial

from bertsmith.data.linked import Linked
from bertsmith.nn.knowledge import Knowledge
from bertsmith.objectives.entities import Entities
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import QUICK, SIZES, bert, quick


def ernie_thu(size: str = "base") -> Recipe:
    recipe = bert(size)
    rewrite = Linked(mask=recipe.corruption.rewrite.mask, random=recipe.corruption.rewrite.random)
    recipe = replace(
        recipe,
        name="ernie-thu",
        corruption=replace(recipe.corruption, rewrite=rewrite),
        model=replace(recipe.model, topology=Knowledge()),
        objective=Predict(heads=(Tokens(), Pair(), Entities())),
        # From BERT's weights, one pass, rows of 256 and 512 of them (section 4.1, and run_pretrain.py).
        schedule=replace(recipe.schedule, lr=5e-5, warmup=0.1, bias_correction=True),
        layout=replace(recipe.layout, length=256),
        training=replace(recipe.training, batch=512 * 256),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="ernie-thu",
        paper="Zhang et al. 2019, arXiv:1905.07129",
        about="hides 15 % of the tokens and of the links to entities, sees both sides, asks for them and for the order of two segments",
        sizes={size: partial(ernie_thu, size) for size in SIZES},
    ),
)
