"""ERNIE 1.0 (Sun et al. 2019, arXiv:1904.09223): BERT whose hidden units grow from tokens over phrases to entities.

The three stages are one curriculum, a pass over the corpus each unless `corruption.select.passes` says more.  The store is prepared with
`--phrases` and `--entities`: word lists, statistics of the corpus, or annotated text.

`ernie1-dialogue` is its dialogue language model: turns with their roles in place of segments, and dialogues that may be fake.  The paper
alternates it with the rest on one model; here it goes on from one (`--from`), or stands alone.
"""

from dataclasses import replace
from functools import partial

from bertsmith.data.units import Units
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import SIZES, bert
from bertsmith.text.dialogue import Dialogues


def ernie1(size: str = "base") -> Recipe:
    recipe = bert(size)
    select = Units(levels=("token", "phrase", "entity"), passes=1, rate=0.15)
    # The published configuration and code: ReLU, in the head for tokens too, 513 positions, Paddle's epsilon in the norms.
    model = replace(
        recipe.model,
        positions=Learned(length=513),
        norm=LayerNorm(eps=1e-5),
        feedforward=Plain(activation="relu"),
    )
    corruption = replace(recipe.corruption, select=select)
    # Its vocabulary has 17,964 tokens, Chinese characters and word pieces; its table has 18,000 rows, the last of them never used.
    return replace(recipe, name="ernie1", tokenizer="wordpiece:17964", corruption=corruption, model=model).with_vocab(
        17964
    )


def ernie1_dialogue(size: str = "base") -> Recipe:
    recipe = ernie1(size)
    # Words are hidden as BERT hides them (paper, DLM): a stage of tokens that does not end.
    select = replace(recipe.corruption.select, levels=("token",))
    return replace(
        recipe,
        name="ernie1-dialogue",
        layout=Dialogues(length=recipe.layout.length, fake=0.5),
        corruption=replace(recipe.corruption, select=select),
    )


MEMBERS = (
    Member(
        name="ernie1",
        paper="Sun et al. 2019, arXiv:1904.09223",
        about="hides tokens, then phrases, then entities, 15 % of the text, sees both sides, asks for each token and for the order of two segments",
        sizes={size: partial(ernie1, size) for size in SIZES},
    ),
    Member(
        name="ernie1-dialogue",
        paper="Sun et al. 2019, arXiv:1904.09223",
        about="hides 15 % of the tokens of a dialogue, sees both sides and who speaks, asks for each token and whether a turn is of another dialogue",
        sizes={size: partial(ernie1_dialogue, size) for size in SIZES},
    ),
)
