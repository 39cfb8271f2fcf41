"""Multilingual BERT (Devlin et al. 2019, released with its documentation): BERT on the text of many languages, which share one table.

Nothing tells the model which language it reads.  A store of several (`prepare en=FILE zh=FILE …`) is read by powers of their sizes, the
tokenizer's sample too; a pair's two segments are of one language.

`mbert-tlm` reads parallel lines as well (`en+de=…`): translation language modelling (XLM, Lample & Conneau 2019, arXiv:1901.07291), which hides
tokens of a text and of its translation, in updates of their own as often as text (`mixture.shares.weights`).
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.mixture import Weighted
from bertsmith.data.translated import Translated
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.recipe import Asked, Corruption, Member, Recipe, Several
from bertsmith.recipes.bert import SIZES, bert
from bertsmith.text.multilingual import SMOOTHING
from bertsmith.text.translations import Translations


def mbert(size: str = "base") -> Recipe:
    recipe = replace(bert(size), name="mbert", tokenizer="wordpiece:119547").with_vocab(119_547)
    return replace(recipe, training=replace(recipe.training, smoothing=SMOOTHING))


def mbert_tlm(size: str = "base") -> Recipe:
    recipe = mbert(size)
    parallel = Asked(
        name="parallel",
        layout=Translations(length=recipe.layout.length, swap=0.5),
        corruption=Corruption(select=recipe.corruption.select, rewrite=Translated(mask=0.8, random=0.1, reset=True)),
    )
    return replace(
        recipe,
        name="mbert-tlm",
        objective=Mixed(parts=(Part(feed="text", objective=recipe.objective), Part(feed="parallel", of="text"))),
        mixture=Several(main="text", feeds=(parallel,), shares=Weighted(weights=(1.0, 1.0))),
    )


MEMBERS = (
    Member(
        name="mbert",
        paper="Devlin et al. 2019, arXiv:1810.04805; released November 2018",
        about="hides 15 % of the tokens of many languages, sees both sides, asks for them and for the order of two segments of one language",
        sizes={size: partial(mbert, size) for size in SIZES},
    ),
    Member(
        name="mbert-tlm",
        paper="Lample & Conneau 2019, arXiv:1901.07291",
        about="mbert, and hides 15 % of the tokens of a text and its translation, each seen from both",
        sizes={size: partial(mbert_tlm, size) for size in SIZES},
    ),
)
