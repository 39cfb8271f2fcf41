"""ERNIE 1.0 (Sun et al. 2019, arXiv:1904.09223): BERT whose hidden units grow from tokens over phrases to entities.

The three stages are one curriculum, a pass over the corpus each unless `corruption.select.passes` says more.  The store is prepared with
`--phrases` and `--entities`: word lists, statistics of the corpus, or annotated text.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.units import Units
from bertsmith.nn.positions import Learned
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import SIZES, bert


def ernie1(size: str = "base") -> Recipe:
    recipe = bert(size)
    select = Units(levels=("token", "phrase", "entity"), passes=1, rate=0.15)
    # The published configuration and code: ReLU, in the head for tokens too, 513 positions, Paddle's epsilon in the norms.
    model = replace(recipe.model, activation="relu", positions=Learned(length=513), eps=1e-5)
    corruption = replace(recipe.corruption, select=select)
    # Its vocabulary has 17,964 tokens, Chinese characters and word pieces; its table has 18,000 rows, the last of them never used.
    return replace(recipe, name="ernie1", tokenizer="wordpiece:17964", corruption=corruption, model=model).with_vocab(
        17964
    )


MEMBERS = (
    Member(
        name="ernie1",
        paper="Sun et al. 2019, arXiv:1904.09223",
        about="hides tokens, then phrases, then entities, 15 % of the text, sees both sides, asks for each token and for the order of two segments",
        sizes={size: partial(ernie1, size) for size in SIZES},
    ),
)
