"""Reformer (Kitaev et al. 2020, arXiv:2001.04451) as an encoder: hashed attention, layers that are undone on the way back, a feed-forward part
by chunks, positions on a grid; tokens are hidden as RoBERTa's are.

The paper's own are language models.  There what comes later moves the chunks in which a token reads what came before, so that it is not
unseen altogether; where all is seen, nothing is given away.
"""

from dataclasses import replace
from functools import partial

from bertsmith.nn.axial import Axial
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Chunked
from bertsmith.nn.hashed import Hashed
from bertsmith.nn.reversible import Reversible
from bertsmith.recipe import Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, SIZES, quick
from bertsmith.recipes.roberta import roberta

LENGTH = 4096


def reformer(size: str = "base") -> Recipe:
    neighbour = roberta(size)
    recipe = replace(
        neighbour,
        name="reformer",
        layout=replace(neighbour.layout, length=LENGTH),
        model=replace(
            neighbour.model,
            embeddings=Summed(segments=0, norm=False),
            positions=Axial(rows=64, columns=64),
            block=PreNorm(),
            attention=Hashed(rounds=4, chunk=32 if size in QUICK else 64),
            feedforward=Chunked(rows=512),
            topology=Reversible(),
        ),
        schedule=Schedule(lr=4e-4, warmup=10_000, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=1.0),
        training=Training(batch=64 * LENGTH, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="reformer",
        paper="Kitaev et al. 2020, arXiv:2001.04451",
        about="RoBERTa's task over thousands of tokens: each reads those whose hash is near, and training holds one layer's states",
        sizes={size: partial(reformer, size) for size in SIZES},
    ),
)
