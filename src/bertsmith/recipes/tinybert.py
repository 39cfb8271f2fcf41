"""TinyBERT (Jiao et al. 2020, arXiv:1909.10351): a narrow BERT that learns a BERT's scores of attention and hidden states, layer by layer."""

from dataclasses import replace
from functools import partial

from bertsmith.objectives.distilled import Distilled
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick
from bertsmith.recipes.roberta import roberta

# Layers, width, heads, hidden.  4 and 6: section 4.2 of the paper, with BERT-base's heads; the others are the house's.
SIZES = {
    "tiny": (2, 128, 2, 512),
    "mini": (4, 256, 4, 1024),
    "4": (4, 312, 12, 1200),
    "6": (6, 768, 12, 3072),
}


def tinybert(size: str = "4") -> Recipe:
    layers, width, heads, hidden = SIZES[size]
    neighbour, rows = bert(size if size in QUICK else "base"), roberta("base")
    recipe = replace(
        neighbour,
        name="tinybert",
        layout=rows.layout,  # nothing is asked of pairs
        model=replace(neighbour.model, layers=layers, width=width, heads=heads, hidden=hidden),
        # General distillation (section 3.2): no masked words and no predictions; the embedding is the first of the hidden states.
        objective=Distilled(
            objective=Predict(heads=(Tokens(),)),
            own=0.0,
            soft=0.0,
            cosine=0.0,
            hidden=1.0,
            attention=1.0,
            begin="fresh",
        ),
        # general_distill.py's defaults: 256 rows of 128 tokens, three passes.
        schedule=Schedule(lr=5e-5, warmup=0.1, eps=1e-6, weight_decay=0.01, clip=0.0),
        training=Training(batch=256 * 128, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    recipe = replace(recipe, layout=replace(recipe.layout, length=128))
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="tinybert",
        paper="Jiao et al. 2020, arXiv:1909.10351",
        about="a narrow BERT that learns a teacher's scores of attention and hidden states, those of the embedding too",
        sizes={size: partial(tinybert, size) for size in SIZES},
    ),
)
