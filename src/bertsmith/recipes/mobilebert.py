"""MobileBERT (Sun et al. 2020, arXiv:2004.02984): a deep BERT of thin layers that learns layer by layer of IB-BERT, whose layers are thick."""

from dataclasses import replace
from functools import partial
from typing import Any

from bertsmith.nn.bottleneck import Bottleneck, Outside
from bertsmith.nn.feedforward import Stacked
from bertsmith.nn.norms import Affine, LayerNorm
from bertsmith.nn.trigram import Trigram
from bertsmith.objectives.distilled import Distilled
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.recipe import LayerByLayer, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick

# Layers, width between them, heads; the table and a thin layer's inside are a quarter of that, a thick layer's inside is twice that, four times
# as wide in its feed-forward part.  Base and large: table 1 of the paper and the released configurations; the others are the house's.
SIZES = {"tiny": (2, 128, 2), "mini": (4, 256, 4), "base": (24, 512, 4)}
TEACHERS = {"tiny": "tiny", "mini": "mini", "large": "base"}  # sizes of IB-BERT, and of MobileBERT beside it


def _between(size: str, name: str, **parts: Any) -> Recipe:
    """What a student and its teacher have in common: what is read and asked, and the width between layers."""
    layers, width, heads = SIZES[size]
    neighbour = bert(size if size in QUICK else "base")
    common = {"layers": layers, "width": width, "heads": heads, "embeddings": Trigram(width=width // 4)}
    # The paper's LAMB has the rate 1.5e-3; this is AdamW, and the rate RoBERTa's, by the root of the batch.
    rate = Schedule(lr=3e-4, warmup=10_000, eps=1e-6, weight_decay=0.01, clip=1.0)
    training = Training(batch=2048 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576)
    return replace(
        neighbour, name=name, model=replace(neighbour.model, **common, **parts), schedule=rate, training=training
    )


def ib_bert(size: str = "large") -> Recipe:
    of = TEACHERS[size]
    width = SIZES[of][1]
    recipe = _between(
        of,
        "ib-bert",
        hidden=8 * width,
        block=Bottleneck(width=2 * width),
        attention=Outside(shared=False),
    )
    recipe = replace(recipe, objective=Predict(heads=(Tokens(wide=True), Pair())))
    return quick(recipe) if size in QUICK else recipe


def mobilebert(size: str = "base") -> Recipe:
    width = SIZES[size][1]
    recipe = _between(
        size,
        "mobilebert",
        hidden=width,
        dropout=0.0,  # the released configuration drops 0.1 of what attention takes, and nothing else
        block=Bottleneck(width=width // 4),
        norm=Affine(),
        attention=Outside(),
        feedforward=Stacked(activation="relu", count=4),
    )
    # Half of the answer for a hidden token is the teacher's (section 3.5); [CLS] is read as it is (classifier_activation of the released code).
    heads = Tokens(wide=True, norm=LayerNorm()), Pair(weight=2.0, pooler="state")
    objective = Distilled(
        objective=Predict(heads=heads, pooler="state"),
        own=0.5,
        soft=0.5,
        cosine=0.0,
        temperature=1.0,
        at="asked",
        # The factors of the released command (README of google-research/mobilebert).
        features=100.0,
        means=5000.0,
        variances=5.0,
        shares=1.0,
        begin="around",
    )
    # 240,000 updates layer by layer, those below at a tenth of the rate (distill_util.py), and 500,000 after them (section 4.2).
    stages = LayerByLayer(until=0.32, below=0.1)
    recipe = replace(recipe, objective=objective, schedule=replace(recipe.schedule, stages=stages))
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="mobilebert",
        paper="Sun et al. 2020, arXiv:2004.02984",
        about="thin and deep: bottlenecks, four feed-forward parts in a layer, no statistics in its norms; learns of ib-bert layer by layer",
        sizes={size: partial(mobilebert, size) for size in SIZES},
    ),
    Member(
        name="ib-bert",
        paper="Sun et al. 2020, arXiv:2004.02984",
        about="MobileBERT's teacher: BERT's task, layers that are wider inside than between them",
        sizes={size: partial(ib_bert, size) for size in TEACHERS},
    ),
)
