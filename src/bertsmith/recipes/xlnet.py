"""XLNet (Yang et al. 2019, arXiv:1906.08237): tokens predicted in a random order, by tokens that only ask; memory of the rows before.

The paper's two streams are one stream here, with one more token for every prediction (`nn` and `data` know it as ranks).
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.permuted import PartialSpans, Permuted
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.embeddings import Asking
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import SIZES, quick
from bertsmith.text.columns import ReusedSegments


def xlnet(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    recipe = Recipe(
        name="xlnet",
        tokenizer="unigram:32000",
        layout=ReusedSegments(length=512, random=0.5, both_ways=True),
        corruption=Corruption(select=PartialSpans(rate=0.1667, longest=5), rewrite=Permuted()),
        model=TransformerConfig(
            vocab=32000,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            dropout=0.1,
            embeddings=Asking(),
            positions=Relative(segments=True),
            block=PostNorm(dropout_last=True),
            attention=Full(bias=False),
            memory=Recurrence(length=384),
        ),
        objective=Predict(heads=(Tokens(transform=False),)),
        # Section 3.1 and appendix A.4: 500,000 updates of 8,192 rows.
        schedule=Schedule(lr=4e-4, warmup=40_000, eps=1e-6, weight_decay=0.01, clip=0.25),
        training=Training(batch=8192 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    if size not in ("tiny", "mini"):
        return recipe
    recipe = quick(recipe)
    return replace(
        recipe, model=replace(recipe.model, memory=Recurrence(length=96))
    )  # three quarters of a row, as in the paper


MEMBERS = (
    Member(
        name="xlnet",
        paper="Yang et al. 2019, arXiv:1906.08237",
        about="hides nothing; asks for a sixth of the tokens in a random order, each from what comes before it in that order and from the rows before",
        sizes={size: partial(xlnet, size) for size in SIZES},
    ),
)
