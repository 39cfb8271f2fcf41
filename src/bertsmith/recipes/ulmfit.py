"""ULMFiT (Howard & Ruder 2018, arXiv:1801.06146): an AWD-LSTM (Merity et al. 2018, arXiv:1708.02182) that is trained as a language model, goes on
with the texts of a task, and then learns the task from the top layer down (docs/finetune.md has the three stages).

Rates of dropout are shares of `model.dropout`, so that `--set model.dropout` or `--set dropout` of a fine-tuning moves all of them; those
that follow are the paper's (section 4.1).  `ulmfit-backward` reads a text from its end.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.causal import Causal, Everything
from bertsmith.nn.cells import LSTM
from bertsmith.nn.recurrent import Carry, Locked, Recurrent, Words
from bertsmith.objectives.predict import Tokens
from bertsmith.objectives.regular import Regular
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.lstm import short
from bertsmith.text.columns import Columns

SIZES = {"tiny": (3, 128, 256), "mini": (3, 256, 512), "base": (3, 400, 1150)}


def ulmfit(size: str = "base") -> Recipe:
    layers, width, units = SIZES[size]
    recipe = Recipe(
        name="ulmfit",
        tokenizer="wordpiece:30522",
        layout=Columns(length=70),
        corruption=Corruption(select=Everything(), rewrite=Causal()),
        model=Recurrent(
            vocab=30522,
            layers=layers,
            width=width,
            hidden=units,
            dropout=0.4,
            embeddings=Words(drop=0.125),  # 0.05
            cell=LSTM(),
            noise=Locked(input=1.0, between=0.75, output=1.0, weights=1.25),  # 0.4, 0.3, 0.4, 0.5
            memory=Carry(),
        ),
        objective=Regular(heads=(Tokens(transform=False),), pooler="relu"),
        schedule=Schedule(
            lr=4e-3, warmup=0.1, betas=(0.7, 0.99), eps=1e-8, weight_decay=0.0, clip=0.4, decay="slanted"
        ),
        training=Training(batch=64 * 70, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return recipe if size == "base" else short(recipe)


def backward(size: str = "base") -> Recipe:
    recipe = ulmfit(size)
    return replace(
        recipe,
        name="ulmfit-backward",
        layout=replace(recipe.layout, from_end=True),
        corruption=Corruption(select=Everything(backward=True), rewrite=Causal(backward=True)),
        model=replace(recipe.model, directions="backward"),
    )


MEMBERS = (
    Member(
        name="ulmfit",
        paper="Howard & Ruder 2018, arXiv:1801.06146",
        about="an AWD-LSTM: hides nothing, reads token by token with five kinds of dropout, asks for the next token",
        sizes={size: partial(ulmfit, size) for size in SIZES},
    ),
    Member(
        name="ulmfit-backward",
        paper="Howard & Ruder 2018, arXiv:1801.06146, section 3.3",
        about="ULMFiT from the end of a text: asks for the token before",
        sizes={size: partial(backward, size) for size in SIZES},
    ),
)
