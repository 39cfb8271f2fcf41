"""UniLM (Dong et al. 2019, arXiv:1905.03197): one encoder for four views of a text: both sides, left, right, source to target.

Every view asks for hidden tokens where they stand, so that one head and one loss serve all; a token that is hidden sees itself and what
the view lets it see.  `corruption.rewrite.views` are the proportions, `corruption.rewrite.views.prefix=0` leaves one out.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.spans import NGrams
from bertsmith.data.views import SEGMENTS, Proportions, Views
from bertsmith.recipe import Corruption, Member, Recipe
from bertsmith.recipes.bert import QUICK, SIZES, bert, quick


def unilm(size: str = "base") -> Recipe:
    neighbour = bert(size)
    recipe = replace(
        neighbour,
        name="unilm",
        tokenizer="wordpiece:28996",
        # Section 2.6: one token 80 % of the time, else two or three; tokens, not words, as in the released code.
        corruption=Corruption(
            select=NGrams(longest=3, units="token", single=0.8, rate=0.15, rounding="round"),
            rewrite=Views(
                mask=0.8, random=0.1, views=Proportions(full=2.0, left_to_right=1.0, right_to_left=1.0, prefix=2.0)
            ),
        ),
        model=replace(neighbour.model.with_segments(SEGMENTS), vocab=28996),
        # The paper goes on from BERT large for 770,000 updates of 330 rows: a rate for weights that were trained before.
        schedule=replace(neighbour.schedule, lr=3e-5, warmup=40_000),
        training=replace(neighbour.training, batch=330 * 512),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="unilm",
        paper="Dong et al. 2019, arXiv:1905.03197",
        about="hides 15 % of the tokens; sees both sides, one side, or a source and the target so far; asks for them, and for the order of two segments where it sees both sides",
        sizes={size: partial(unilm, size) for size in SIZES},
    ),
)
