"""Multilingual BERT (Devlin et al. 2019, released with its documentation): BERT on the text of many languages, which share one table.

Nothing tells the model which language it reads.  A store of several (`prepare en=FILE zh=FILE …`) is read by powers of their sizes, the
tokenizer's sample too; a pair's two segments are of one language.
"""

from dataclasses import replace
from functools import partial

from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import SIZES, bert
from bertsmith.text.multilingual import SMOOTHING


def mbert(size: str = "base") -> Recipe:
    recipe = replace(bert(size), name="mbert", tokenizer="wordpiece:119547").with_vocab(119_547)
    return replace(recipe, training=replace(recipe.training, smoothing=SMOOTHING))


MEMBERS = (
    Member(
        name="mbert",
        paper="Devlin et al. 2019, arXiv:1810.04805; released November 2018",
        about="hides 15 % of the tokens of many languages, sees both sides, asks for them and for the order of two segments of one language",
        sizes={size: partial(mbert, size) for size in SIZES},
    ),
)
