"""Quick-Thought (Logeswaran & Lee 2018, arXiv:1803.02893): which sentences of a batch stand beside this one, by the vectors of two encoders.

An update is some hundred sentences in the order of their document, and all others of it are what a neighbour is told from.  A sentence's
vector is what both encoders say, side by side.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from bertsmith.data.beside import InContext, Nothing
from bertsmith.nn.bag import Bag
from bertsmith.nn.beside import Beside
from bertsmith.nn.embeddings import Lookup, Summed
from bertsmith.nn.gru import Gru
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.context import Context
from bertsmith.recipe import Corruption, Member, Recipe, Schedule, Training
from bertsmith.text.neighbours import Contiguous

VOCAB = 20_000


def gru(width: int, table: int | None = None, both: bool = True) -> Gru:
    """Layers of gated recurrent units that say `width` numbers of a token, from both sides or from the left."""
    return Gru(
        vocab=VOCAB,
        layers=1,
        width=width,
        hidden=width // 2 if both else width,
        dropout=0.0,
        embeddings=Lookup(width=table),
        directions="both" if both else "forward",
    )


def transformer(width: int) -> TransformerConfig:
    shape: dict[str, Any] = {"layers": 2, "width": width, "heads": width // 64, "hidden": 4 * width}
    positions, embeddings = Learned(length=512), Summed(segments=0)
    return TransformerConfig(vocab=VOCAB, **shape, dropout=0.0, embeddings=embeddings, positions=positions)


# The paper's (section 4.1): 1,200 numbers of either direction, vectors of words of 620.
ENCODERS = {
    "tiny": partial(gru, 128),
    "mini": partial(gru, 256),
    "base": partial(gru, 2400, 620),
    **{f"bag-{size}": partial(Bag, vocab=VOCAB, width=width) for size, width in (("tiny", 128), ("mini", 256))},
    **{f"transformer-{size}": partial(transformer, width) for size, width in (("tiny", 128), ("mini", 256))},
}


def quick_thought(size: str = "base") -> Recipe:
    one = ENCODERS[size]()
    recipe = Recipe(
        name="quick-thought",
        tokenizer="wordpiece:20000",  # words in the paper, 50,000 of them
        layout=Contiguous(length=128),
        corruption=Corruption(select=Nothing(), rewrite=InContext(), copies=1),  # nothing is drawn
        model=Beside(vocab=VOCAB, layers=one.layers, width=one.width, dropout=0.0, bodies=(one, one)),
        objective=Context(),
        # Section 4.1: Adam at 5e-4, 400 sentences an update, which are about as many tokens; one pass over the books.
        schedule=Schedule(lr=5e-4, warmup=0.0, eps=1e-8, weight_decay=0.0, clip=5.0, decay="constant"),
        training=Training(batch=8192, checkpoint=5_000, evaluate=5_000, held_out=262_144),
    )
    if size == "base":
        return recipe
    return replace(
        recipe,
        layout=Contiguous(length=64),
        schedule=replace(recipe.schedule, lr=2e-3, warmup=0.1, decay="linear"),
        training=Training(),
    )


MEMBERS = (
    Member(
        name="quick-thought",
        paper="Logeswaran & Lee 2018, An efficient framework for learning sentence representations",
        about="hides nothing, reads sentences by themselves in two encoders, asks which of a batch stand beside one another",
        sizes={size: partial(quick_thought, size) for size in ENCODERS},
    ),
)
