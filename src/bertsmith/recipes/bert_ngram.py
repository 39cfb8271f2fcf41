"""BERT with n-gram masking (Lan et al. 2020, arXiv:1909.11942, section 3.1): one to three whole words in a row, n in proportion to 1/n.

ALBERT's masking in BERT's place, so that what it does can be told from what the rest of ALBERT does.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.spans import NGrams
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import SIZES, bert


def bert_ngram(size: str = "base") -> Recipe:
    recipe = bert(size)
    select = NGrams(longest=3, rate=0.15, rounding="round")
    return replace(recipe, name="bert-ngram", corruption=replace(recipe.corruption, select=select))


MEMBERS = (
    Member(
        name="bert-ngram",
        paper="Lan et al. 2020, arXiv:1909.11942, section 3.1",
        about="hides runs of one to three words, 15 % of the tokens, sees both sides, asks for them and for the order of two segments",
        sizes={size: partial(bert_ngram, size) for size in SIZES},
    ),
)
