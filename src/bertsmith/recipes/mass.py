"""MASS (Song et al. 2019, arXiv:1905.02450): half of a text hidden in one fragment, which a decoder writes from what stands before each token.

`corruption.select.tokens` is the paper's k: 1 is BERT's question, a text's length a language model's (section 3.2, figure 5).
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.fragment import Fragment, Written
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bart import bart
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.layout import DocSentences

SIZES = {"tiny": (2, 128, 2), "mini": (4, 256, 4), "base": (6, 1024, 8)}  # layers of each stack; base: section 4.1


def mass(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    neighbour = bart()
    shape = {"vocab": 60000, "layers": layers, "width": width, "heads": heads, "hidden": 4 * width}
    recipe = replace(
        neighbour,
        name="mass",
        tokenizer="bpe-char:60000",
        layout=DocSentences(length=256),
        corruption=Corruption(select=Fragment(rate=0.5), rewrite=Written(mask=0.8, random=0.1)),
        model=replace(neighbour.model, **shape, positions=Learned(length=512), norm=LayerNorm()),
        objective=Predict(heads=(Tokens(transform=False),)),
        # Section 4.1: 3,000 tokens for each of 4 GPUs.
        schedule=Schedule(lr=1e-4, warmup=4000, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0, clip=5.0),
        training=Training(batch=12_000, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="mass",
        paper="Song et al. 2019, arXiv:1905.02450",
        about="hides half of a text in one fragment; one stack sees the rest, another writes the fragment from what comes before each token",
        sizes={size: partial(mass, size) for size in SIZES},
    ),
)
