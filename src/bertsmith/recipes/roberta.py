"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): BERT without pairs, on full sentences, masks drawn anew in every epoch."""

from dataclasses import replace
from functools import partial

from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.norms import LayerNorm
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, SIZES, bert, quick
from bertsmith.text.layout import FullSentences


def roberta(size: str = "base") -> Recipe:
    neighbour = bert(size)
    # Table 9 of the paper; clip 0.0 there means never.
    peak, warmup = (4e-4, 30_000) if size == "large" else (6e-4, 24_000)
    recipe = replace(
        neighbour,
        name="roberta",
        tokenizer="bpe:50265",
        layout=FullSentences(length=512),
        corruption=Corruption(
            select=TokenSpans(rate=0.15, rounding="probabilistic"),
            rewrite=InPlace(mask=0.8, random=0.1, avoid_special=True),
        ),
        model=replace(
            neighbour.model, vocab=50265, dropout=0.1, embeddings=Summed(segments=0), norm=LayerNorm(eps=1e-5)
        ),
        objective=Predict(heads=(Tokens(),)),
        schedule=Schedule(lr=peak, warmup=warmup, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, clip=0.0),
        training=Training(batch=8192 * 512, checkpoint=1_000, evaluate=1_000, held_out=1_048_576),
    )
    return quick(recipe) if size in QUICK else recipe


MEMBERS = (
    Member(
        name="roberta",
        paper="Liu et al. 2019, arXiv:1907.11692",
        about="hides 15 % of the tokens anew in every epoch, sees both sides, asks for them",
        sizes={size: partial(roberta, size) for size in SIZES},
    ),
)
