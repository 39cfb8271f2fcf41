"""ALBERT (Lan et al. 2020, arXiv:1909.11942): one layer used at every depth, a factorised token table, the order of two segments."""

from dataclasses import replace
from functools import partial

from bertsmith.data.rewrite import InPlace
from bertsmith.data.spans import NGrams
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick
from bertsmith.text.layout import SegmentPairs

# Layers, width, heads; the feed-forward part is four widths.  Table 1 of the paper and the released configurations; tiny and mini are BERT's.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
    "xlarge": (24, 2048, 16),
    "xxlarge": (12, 4096, 64),
}
EMBEDDING = 128


def albert(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    neighbour = bert("base")
    recipe = replace(
        neighbour,
        name="albert",
        tokenizer="unigram:30000",
        layout=SegmentPairs(length=512, short=0.1, negatives="swap"),
        # Without the limit of 20 predictions that the released command sets: at 512 tokens it would ask for 4 % of them.
        corruption=Corruption(select=NGrams(longest=3, rate=0.15), rewrite=InPlace(mask=0.8, random=0.1)),
        model=replace(
            neighbour.model,
            vocab=30000,
            layers=layers,
            width=width,
            heads=heads,
            hidden=4 * width,
            embeddings=Summed(width=min(EMBEDDING, width // 2)),
            feedforward=Plain(activation="gelu_tanh"),
            share="all",
            dropout=0.0,  # version 2 of the released models, all sizes; version 1 had 0.1 but in xxlarge
        ),
        # Rows of 512 tokens, 4,096 an update.  The paper's LAMB has the rate 1.76e-3; this is AdamW, and the rate BERT's at that batch.
        schedule=Schedule(lr=4e-4, warmup=3_125, eps=1e-6, weight_decay=0.01, clip=1.0),
        training=Training(batch=4096 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="albert",
        paper="Lan et al. 2020, arXiv:1909.11942",
        about="hides runs of one to three words, sees both sides, asks for them and whether two segments were swapped; all layers are one",
        sizes={size: partial(albert, size) for size in SIZES},
    ),
)
