"""Skip-Thought (Kiros et al. 2015, arXiv:1506.06726): the sentences before and behind this one, written from its vector by two decoders.

uni-skip reads from the left, bi-skip from both sides, and combine-skip is both, side by side, each learned by decoders of its own.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from bertsmith.data.beside import Nothing, Surroundings
from bertsmith.nn.beside import Beside
from bertsmith.objectives.surroundings import Written
from bertsmith.recipe import Brief, Corruption, Member, Recipe, Schedule, Training
from bertsmith.recipes.quick_thought import VOCAB, gru
from bertsmith.text.neighbours import Neighbours

# Numbers of a vector, of a word's, and from where it is read: section 3.1 of the paper, and sizes for one machine.
SIZES = {
    "tiny": (128, None, "bi"),
    "mini": (256, None, "bi"),
    "uni": (2400, 620, "uni"),
    "bi": (2400, 620, "bi"),
    "combine": (2400, 620, "combine"),
    "uni-tiny": (128, None, "uni"),
    "combine-tiny": (128, None, "combine"),
}


def encoder(width: int, table: int | None, reads: str) -> Any:
    if reads != "combine":
        return gru(width, table, both=reads == "bi")
    bodies = gru(width, table, both=False), gru(width, table)
    return Beside(vocab=VOCAB, layers=1, width=width, dropout=0.0, bodies=bodies)


def skip_thought(size: str = "bi") -> Recipe:
    recipe = Recipe(
        name="skip-thought",
        tokenizer="wordpiece:20000",  # words in the paper, 20,000 of them; `bertsmith expand` gives a model others
        layout=Neighbours(length=128),
        corruption=Corruption(select=Nothing(), rewrite=Surroundings(), copies=1),  # nothing is drawn
        model=encoder(*SIZES[size]),
        objective=Written(),
        # Section 3.1: Adam, gradients cut at 10, 128 sentences an update, which are about as many tokens with their neighbours.  The rate is
        # Adam's own: the paper tells none.
        schedule=Schedule(lr=1e-3, warmup=0.0, eps=1e-8, weight_decay=0.0, clip=10.0, decay="constant"),
        training=Training(batch=8192, checkpoint=5_000, evaluate=5_000, held_out=262_144),
    )
    if size in ("uni", "bi", "combine"):
        return recipe
    return replace(
        recipe,
        layout=Neighbours(length=64),
        schedule=replace(recipe.schedule, lr=2e-3, warmup=0.1, decay="linear"),
        training=Training(),
        brief=Brief(),
    )


MEMBERS = (
    Member(
        name="skip-thought",
        paper="Kiros et al. 2015, Skip-Thought Vectors",
        about="hides nothing, reads a sentence, writes the one before it and the one behind it from its vector",
        sizes={size: partial(skip_thought, size) for size in SIZES},
    ),
)
