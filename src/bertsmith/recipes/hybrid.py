"""The hybrid word-character model (Luong & Manning 2016, arXiv:1604.00788), as a language model: known words by a table, unknown ones composed of their
characters where they are read, and spelled where they are asked for.

The paper has it as a translator; here one stack is its source side, whose unknown words are composed, and its target side, whose unknown words are
one class and then spelled.  Its words are LSTMs', and so are ours: every word of a text is asked for, and a tiny one has learned in minutes.
A store of `words-char:N` spells; of any other tokenizer the member is a language model of tokens.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.causal import Everything
from bertsmith.data.spelled import ByWord
from bertsmith.nn.hybrid import Composed, Hybrid
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.objectives.spelled import Spelling
from bertsmith.recipe import Corruption, Group, Member, Recipe, Schedule, Training
from bertsmith.recipes.bert import quick
from bertsmith.text.stretches import Stretches

# Layers, width, units, dropout; layers of what reads and writes characters, units of what writes them.  Base is of the paper's order of size.
SIZES = {
    "tiny": (1, 128, 256, 0.0, 1, 128),
    "mini": (2, 256, 512, 0.0, 1, 256),
    "base": (4, 1024, 1024, 0.2, 2, 1024),
}


def hybrid(size: str = "base") -> Recipe:
    layers, width, units, dropout, deep, wide = SIZES[size]
    recipe = Recipe(
        name="hybrid",
        tokenizer="words-char:50000",
        layout=Stretches(length=128),
        corruption=Corruption(select=Everything(), rewrite=ByWord()),
        model=Hybrid(
            vocab=50000,
            layers=layers,
            width=width,
            hidden=units,
            dropout=dropout,
            embeddings=Composed(layers=deep),
        ),
        objective=Predict(heads=(Tokens(transform=False), Spelling(layers=deep, hidden=wide)), pooler="none"),
        # 128 rows of 50 words; theirs was plain descent at a rate that fell by halves, ours is Adam.
        schedule=Schedule(lr=1e-3, warmup=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, clip=5.0),
        training=Training(batch=128 * 50, checkpoint=5_000, evaluate=5_000, held_out=1_048_576),
    )
    made = quick(recipe, lr=2e-3) if dropout == 0 else recipe
    # What all unknown words have in common pulls all units one way at first; at the whole rate they are at their ends before they tell words apart.
    slow = Group(part="model.embeddings.characters", rate=0.1)
    return replace(made, schedule=replace(made.schedule, groups=(slow,)))


MEMBERS = (
    Member(
        name="hybrid",
        paper="Luong & Manning 2016, arXiv:1604.00788",
        about="a language model of words that reads unknown ones by their characters, asks for the next word, and of an unknown one for its spelling",
        sizes={size: partial(hybrid, size) for size in SIZES},
    ),
)
