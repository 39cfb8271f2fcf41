"""BART (Lewis et al. 2020, arXiv:1910.13461): a text with spans of words under one mask each and its sentences in any order is written anew.

`corruption.rewrite.stand`, `rewrite.rotate` and `corruption.order` are the noises of the paper's table 1 and any composition of them:
"masks" with `select=Tokens` (token masking), "nothing" (deletion), "mask" (infilling), order=Sentences, rotate=1 (document rotation).
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.denoise import Denoise
from bertsmith.data.noise import Infilling
from bertsmith.data.reordered import Sentences
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.layout import DocSentences

SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "base": (6, 768, 12),
    "large": (12, 1024, 16),
}  # layers of each stack


def bart(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    recipe = Recipe(
        name="bart",
        tokenizer="bpe:50265",
        layout=DocSentences(length=512),
        # Section 3: 30 % of the words, all sentences moved; 3.5 words a span and a tenth of the masks random words in the released command.
        corruption=Corruption(
            select=Infilling(rate=0.3, mean=3.0), rewrite=Denoise(stand="mask", random=0.1), order=Sentences()
        ),
        model=TransformerConfig(
            vocab=50265,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            dropout=0.1,
            embeddings=Summed(segments=0),
            positions=Learned(length=1024),
            norm=LayerNorm(eps=1e-5),
            topology=EncoderDecoder(),
        ),
        objective=Predict(heads=(Tokens(transform=False, bias=False),)),
        # 500,000 updates of 8,000 rows.
        schedule=Schedule(lr=4e-4, warmup=10_000, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=0.1),
        training=Training(batch=8000 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    if size not in QUICK:
        return recipe
    recipe = quick(recipe)
    return replace(recipe, model=replace(recipe.model, positions=Learned(length=512)))


MEMBERS = (
    Member(
        name="bart",
        paper="Lewis et al. 2020, arXiv:1910.13461",
        about="hides spans of words, each under one mask, 30 % of the words, and moves the sentences; one stack sees both sides, another writes the whole text",
        sizes={size: partial(bart, size) for size in SIZES},
    ),
)
