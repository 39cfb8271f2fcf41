"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT of half its layers, which learns what a BERT says of every token beside the text."""

from dataclasses import replace
from functools import partial

from bertsmith.nn.embeddings import Summed
from bertsmith.objectives.distilled import Distilled
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, bert, quick
from bertsmith.recipes.roberta import roberta
from bertsmith.text.layout import FullSentencesOfBert

SIZES = {"tiny": 2, "mini": 4, "base": 6}  # layers; base: section 3 of the paper


def distilbert(size: str = "base") -> Recipe:
    neighbour, masks = bert(size), roberta(size)
    recipe = replace(
        neighbour,
        name="distilbert",
        # Masks anew in every epoch and no pairs, as RoBERTa's (section 3).  The released code draws rare tokens more often (count ** -0.7).
        layout=FullSentencesOfBert(length=masks.layout.length),
        corruption=masks.corruption,
        model=replace(neighbour.model, layers=SIZES[size], embeddings=Summed(segments=0)),
        # The weights of the released recipe; its classifiers have a layer and ReLU before the classes.
        objective=Distilled(
            objective=Predict(heads=(Tokens(),), pooler="relu"), own=2.0, soft=5.0, cosine=1.0, temperature=2.0
        ),
        # train.py's own defaults; 4,000 rows in an update, gathered over passes (section 3).
        schedule=Schedule(lr=5e-4, warmup=0.05, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0, clip=5.0),
        training=Training(batch=4096 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="distilbert",
        paper="Sanh et al. 2019, arXiv:1910.01108",
        about="a BERT of half the layers that learns from one of all: what it says of every token, its last states, and the hidden 15 %",
        sizes={size: partial(distilbert, size) for size in SIZES},
    ),
)
