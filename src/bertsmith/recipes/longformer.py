"""Longformer (Beltagy et al. 2020, arXiv:2004.05150): RoBERTa whose tokens see a window of their text, and some that a task names all of it.

Published ones go on from RoBERTa's weights (`bertsmith convert`): 65,000 updates of 2^18 tokens at a rate of 3e-5.  Their windows are 512
tokens of both sides together; gaps (dilation) and growing windows are those of its character models.
"""

from dataclasses import replace
from functools import partial

from bertsmith.nn.attending import Sliding
from bertsmith.nn.positions import Learned
from bertsmith.recipe import Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, SIZES, quick
from bertsmith.recipes.roberta import roberta

LENGTH = 4096


def longformer(size: str = "base") -> Recipe:
    neighbour = roberta(size)
    window = 32 if size in QUICK else 256  # of each side; the quick sizes read rows of 128
    recipe = replace(
        neighbour,
        name="longformer",
        layout=replace(neighbour.layout, length=LENGTH),
        model=replace(neighbour.model, positions=Learned(length=LENGTH), attention=Sliding(window=window)),
        # Section 5 of the paper; its decay is a power of 3, on a line here.
        schedule=Schedule(lr=3e-5, warmup=500, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=0.0),
        training=Training(batch=64 * LENGTH, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="longformer",
        paper="Beltagy et al. 2020, arXiv:2004.05150",
        about="RoBERTa over thousands of tokens: each sees a window, those that a task names see all",
        sizes={size: partial(longformer, size) for size in SIZES},
    ),
)
