"""T5 (Raffel et al. 2020, arXiv:1910.10683): spans give way to sentinels, and a decoder writes each sentinel and what stood there.

The paper's other objectives (tables 4 to 7) are values of the same axes: select `RandomSpans`, `Independent`, `Tail` or `Nothing`, order
`Tokens`, and a rewrite's `stand` and `write`.  The sizes v1.1 have a gated feed-forward part, a table
of their own behind the decoder, and no dropout.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.denoise import Denoise
from bertsmith.data.noise import RandomSpans
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.buckets import Buckets
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated, Plain
from bertsmith.nn.initial import FanIn
from bertsmith.nn.norms import RMSNorm
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK
from bertsmith.text.running import RunningText

# Layers of each stack, width, heads, width of a head, of the feed-forward part (sections 3.1.1 and 3.7; released files).
SIZES = {
    "tiny": (2, 128, 2, 64, 512),
    "mini": (4, 256, 4, 64, 1024),
    "small": (6, 512, 8, 64, 2048),
    "base": (12, 768, 12, 64, 3072),
    "large": (24, 1024, 16, 64, 4096),
    "3b": (24, 1024, 32, 128, 16384),
    "11b": (24, 1024, 128, 128, 65536),
}
GATED = {  # t5.1.1
    "v1.1-small": (8, 512, 6, 64, 1024),
    "v1.1-base": (12, 768, 12, 64, 2048),
    "v1.1-large": (24, 1024, 16, 64, 2816),
    "v1.1-xl": (24, 2048, 32, 64, 5120),
    "v1.1-xxl": (24, 4096, 64, 64, 10240),
}
ROWS = 32128  # 32,000 pieces, 100 sentinels, rounded up


def t5(size: str = "base") -> Recipe:
    gated = size in GATED
    layers, width, heads, head, hidden = (GATED if gated else SIZES)[size]
    recipe = Recipe(
        name="t5",
        tokenizer="unigram:32000",
        layout=RunningText(length=569),  # 568 tokens become 512 with an end, and 114 to write
        corruption=Corruption(
            select=RandomSpans(rate=0.15, mean=3.0),
            rewrite=Denoise(stand="sentinel", write="hidden", start="pad", sentinels=100),
        ),
        model=TransformerConfig(
            vocab=ROWS,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            dropout=0.0 if gated else 0.1,
            embeddings=Summed(segments=0, norm=False),
            positions=Buckets(buckets=32, distance=128),
            block=PreNorm(dropout_last=True),
            norm=RMSNorm(eps=1e-6),
            attention=Full(bias=False, head=head, scaled=False),
            feedforward=Gated(activation="gelu_tanh", bias=False) if gated else Plain(activation="relu", bias=False),
            topology=EncoderDecoder(),
            initial=FanIn(),
        ),
        objective=Predict(heads=(Tokens(transform=False, bias=False, tied=not gated, scaled=not gated),)),
        # Section 3.1.2: AdaFactor, 1 / sqrt(max(n, 10,000)) at update n, 128 rows.
        schedule=Schedule(
            optimizer="adafactor", lr=0.01, warmup=0, hold=10_000, decay="inverse", weight_decay=0.0, clip=0.0
        ),
        training=Training(batch=128 * 569, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return _quick(recipe) if size in QUICK else recipe


def _quick(recipe: Recipe) -> Recipe:
    """For hours on one machine: rows of 128 tokens, 8,192 tokens an update, no dropout, the rate held for a tenth of the run; for minutes: `brief`."""
    return replace(
        recipe,
        layout=RunningText(length=128),
        model=replace(recipe.model, dropout=0.0),
        schedule=replace(recipe.schedule, hold=0.1),
        training=Training(),
        brief=Brief(lr=0.01),
    )


MEMBERS = (
    Member(
        name="t5",
        paper="Raffel et al. 2020, arXiv:1910.10683",
        about="puts a sentinel in place of spans of three tokens, 15 % in all; one stack sees the rest, another writes each sentinel and what it stands for",
        sizes={size: partial(t5, size) for size in (*SIZES, *GATED)},
    ),
)
