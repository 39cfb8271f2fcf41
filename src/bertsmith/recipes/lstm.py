"""Language models that read token by token: LSTM (Zaremba et al. 2014, Press & Wolf 2017) and ON-LSTM (Shen et al. 2019).

The corpus is read in `training.batch / layout.length` columns; a sequence begins with the state that the one before it left, through which no
gradient flows: back-propagation through time, truncated at `layout.length`.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.causal import Causal, Everything
from bertsmith.nn.cells import LSTM, OrderedNeurons
from bertsmith.nn.initial import Uniform
from bertsmith.nn.recurrent import Carry, Locked, Recurrent, Words
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.objectives.regular import Regular
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import quick
from bertsmith.text.columns import Columns

# Layers, width, units, dropout.  Medium and large: Zaremba et al. 2014, section 4.1, whose table of words is tied here
# (objective.heads with tied=false has one of its own).
LSTMS = {
    "tiny": (2, 128, 256, 0.0),
    "mini": (2, 256, 512, 0.0),
    "medium": (2, 650, 650, 0.5),
    "large": (2, 1500, 1500, 0.65),
}
# Layers, width, units, units that share a number of the master gates.  Base: Shen et al. 2019, section 5.1.
ORDERED = {"tiny": (3, 128, 256, 8), "mini": (3, 256, 512, 8), "base": (3, 400, 1150, 10)}
SEGMENT = 64  # of the quick sizes


def lstm(size: str = "medium") -> Recipe:
    layers, width, units, dropout = LSTMS[size]
    recipe = Recipe(
        name="lstm",
        tokenizer="wordpiece:30522",
        layout=Columns(length=35),
        corruption=Corruption(select=Everything(), rewrite=Causal()),
        model=Recurrent(
            vocab=30522,
            layers=layers,
            width=width,
            hidden=units,
            dropout=dropout,
            cell=LSTM(),
            memory=Carry(),
            initial=Uniform(within=0.05),
        ),
        objective=Predict(heads=(Tokens(transform=False),), pooler="none"),
        # 20 columns of 35 tokens; theirs was plain descent at a rate that fell by halves, ours is Adam.
        schedule=Schedule(lr=1e-3, warmup=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, clip=5.0),
        training=Training(batch=20 * 35, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    return short(recipe) if dropout == 0 else recipe


def on_lstm(size: str = "base") -> Recipe:
    layers, width, units, chunk = ORDERED[size]
    model = Recurrent(
        vocab=30522,
        layers=layers,
        width=width,
        hidden=units,
        dropout=0.45,
        embeddings=Words(drop=0.125 / 0.45),
        cell=OrderedNeurons(chunk=chunk),
        noise=Locked(input=0.5 / 0.45, between=0.3 / 0.45, output=1.0, weights=1.0),
        memory=Carry(),
    )
    recipe = replace(
        lstm(),
        name="on-lstm",
        layout=Columns(length=70),
        model=model,
        objective=Regular(heads=(Tokens(transform=False),), pooler="none"),
        schedule=replace(lstm().schedule, clip=0.25, weight_decay=1.2e-6),
        training=replace(lstm().training, batch=20 * 70),
    )
    return recipe if size == "base" else short(recipe)


def short(recipe: Recipe) -> Recipe:
    """For hours on one machine: 64 columns of 64 tokens, no dropout."""
    made = quick(recipe, lr=2e-3)
    layout = replace(recipe.layout, length=SEGMENT)
    return replace(made, layout=layout, training=Training(batch=64 * SEGMENT))


MEMBERS = (
    Member(
        name="lstm",
        paper="Zaremba et al. 2014, arXiv:1409.2329; Press & Wolf 2017, arXiv:1608.05859",
        about="hides nothing, reads token by token, goes on where the sequence before stopped, asks for the next token",
        sizes={size: partial(lstm, size) for size in LSTMS},
    ),
    Member(
        name="on-lstm",
        paper="Shen et al. 2019, arXiv:1810.09536",
        about="an LSTM whose units stand in an order, from what is soon forgotten to what is kept; its gates say how a text is bracketed",
        sizes={size: partial(on_lstm, size) for size in ORDERED},
    ),
)
