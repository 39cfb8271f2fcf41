"""StructBERT (Wang et al. 2020, arXiv:1908.04577): BERT that puts shuffled trigrams in order, and tells next, previous and random segments."""

from dataclasses import replace
from functools import partial

from bertsmith.data.shuffled import Shuffled
from bertsmith.objectives.predict import Also, Pair, Predict, Tokens
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import QUICK, SIZES, bert, quick


def structbert(size: str = "base") -> Recipe:
    neighbour = bert(size)
    recipe = replace(
        neighbour,
        name="structbert",
        layout=replace(neighbour.layout, negatives="thirds"),
        corruption=replace(neighbour.corruption, rewrite=Shuffled(mask=0.8, random=0.1, shuffled=0.05, size=3)),
        # Hidden and shuffled words are predicted by one head, with equal weights (section 2.2 of the paper; its training code is not released).
        objective=Predict(heads=(Tokens(), Also(name="order", of="token"), Pair(classes=3))),
        schedule=replace(neighbour.schedule, lr=1e-4, warmup=0.1, bias_correction=True),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="structbert",
        paper="Wang et al. 2020, arXiv:1908.04577",
        about="hides 15 % of the tokens and shuffles 5 % in trigrams, sees both sides, asks for them and for next, previous or random",
        sizes={size: partial(structbert, size) for size in SIZES},
    ),
)
