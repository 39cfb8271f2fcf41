"""Crammed BERT (Geiping & Goldstein 2023, arXiv:2212.14034): what of BERT pays when there is one GPU and a day.

Sixteen layers without biases, norms before each part, gates, sines with one learned factor, a head that is the token table and nothing else; one feed of
rows of 128 tokens.  Its rate rises from a quarter of the peak over three quarters of the run and falls to 0 over the last, its updates grow until
three fifths of it (the released code; the paper has 4,096 rows at the end, the code 8,192).  Progress is steps made, of those that a budget of
minutes has room for (`--minutes`), where the code asks a clock: so a run is the same however quick the machine is at the moment.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.ramps import Ramps
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens as TokenSpans
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Gated
from bertsmith.nn.positions import Sinusoid
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import QUICK, quick
from bertsmith.text.layout import FullSentencesOfBert

SIZES = {"tiny": (2, 128, 2), "mini": (4, 256, 4), "base": (16, 768, 12)}


def crammed(size: str = "base") -> Recipe:
    layers, width, heads = SIZES[size]
    recipe = Recipe(
        name="crammed",
        tokenizer="wordpiece:32768",
        layout=FullSentencesOfBert(length=128),
        # 15 % in the paper, which found nothing in more; a quarter in the released code.
        corruption=Corruption(select=TokenSpans(rate=0.25, rounding="round"), rewrite=InPlace(mask=0.8, random=0.1)),
        model=TransformerConfig(
            vocab=32_768,
            layers=layers,
            width=width,
            heads=heads,
            hidden=2 * width,
            dropout=0.0,  # in pre-training; a tenth in fine-tuning
            embeddings=Summed(segments=0),
            positions=Sinusoid(scale="learned"),
            block=PreNorm(),
            attention=Full(bias=False),
            feedforward=Gated(bias=False),
        ),
        objective=Predict(heads=(Tokens(transform=False, bias=False),)),
        schedule=Schedule(
            lr=1e-3,
            warmup=0.75,
            initial=0.25,
            betas=(0.9, 0.98),
            eps=1e-12,
            weight_decay=0.01,
            clip=0.5,
            ramps=Ramps(batch=1 / 32, batch_until=0.6, batch_sizes=31),  # by 128 rows, the code's micro-batch
        ),
        training=Training(batch=4096 * 128, checkpoint=500, evaluate=500, held_out=1_048_576),
    )
    if size not in QUICK:
        return recipe
    made = quick(recipe)
    kept = {"warmup": recipe.schedule.warmup, "clip": recipe.schedule.clip, "ramps": Ramps()}
    return replace(made, schedule=replace(made.schedule, **kept))


MEMBERS = (
    Member(
        name="crammed",
        paper="Geiping & Goldstein 2023, arXiv:2212.14034",
        about="hides a quarter of the tokens, sees both sides, asks for them by the token table alone; no biases, gates, norms before each part",
        sizes={size: partial(crammed, size) for size in SIZES},
    ),
)
