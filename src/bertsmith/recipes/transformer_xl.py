"""Transformer-XL (Dai et al. 2019, arXiv:1901.02860): a language model that remembers the segments before its own, by relative positions.

The corpus is read in `training.batch / layout.length` columns; `model.memory.length` tokens of the past are seen beside the segment's own.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.causal import Causal, Everything
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Clustered, Predict
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import quick
from bertsmith.text.columns import Columns

# Layers, width, heads, feed-forward width, segment, memory, cutoffs, divisor, dropout.  Base and large: the released scripts for
# WikiText-103 (run_wt103_base.sh, run_wt103_large.sh), whose 267,735 words are the cutoffs' measure.
SIZES = {
    "tiny": (2, 128, 2, 512, 128, 128, (2_000, 10_000), 1, 0.0),
    "mini": (4, 256, 4, 1024, 128, 128, (2_000, 10_000), 1, 0.0),
    "base": (16, 410, 10, 2100, 150, 150, (20_000, 40_000, 200_000), 1, 0.1),
    "large": (18, 1024, 16, 4096, 384, 384, (20_000, 40_000, 200_000), 4, 0.2),
}


def transformer_xl(size: str = "base") -> Recipe:
    layers, width, heads, hidden, segment, memory, cutoffs, divide, dropout = SIZES[size]
    recipe = Recipe(
        name="transformer-xl",
        tokenizer="wordpiece:30522",
        layout=Columns(length=segment),
        corruption=Corruption(select=Everything(), rewrite=Causal()),
        model=TransformerConfig(
            vocab=30522,
            layers=layers,
            width=width,
            heads=heads,
            hidden=hidden,
            dropout=dropout,
            embeddings=Adaptive(cutoffs=cutoffs, divide=divide),
            positions=Relative(tied=True, ahead=False),
            block=PostNorm(dropout_last=True),
            norm=LayerNorm(eps=1e-5),
            attention=Full(bias=False),
            feedforward=Plain(activation="relu"),
            memory=Recurrence(length=memory),
        ),
        objective=Predict(heads=(Clustered(),)),
        # Adam without weight decay; 200,000 updates (base), 4 million (large).
        schedule=Schedule(
            lr=2.5e-4, warmup=16_000 if size == "large" else 0, eps=1e-8, weight_decay=0.0, clip=0.25, decay="cosine"
        ),
        training=Training(
            batch=(128 if size == "large" else 60) * segment, checkpoint=5_000, evaluate=5_000, held_out=1_048_576
        ),
    )
    return replace(quick(recipe), training=Training(batch=32 * segment)) if size in ("tiny", "mini") else recipe


MEMBERS = (
    Member(
        name="transformer-xl",
        paper="Dai et al. 2019, arXiv:1901.02860",
        about="hides nothing, sees what came before, in earlier segments too, asks for the next token",
        sizes={size: partial(transformer_xl, size) for size in SIZES},
    ),
)
