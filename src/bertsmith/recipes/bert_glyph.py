"""BERT that sees what Chinese characters look like (Meng et al. 2019, arXiv:1901.10125).

Only the embeddings differ from BERT: a vector of each character's picture is added to the learned one, or takes its place
(`--set model.embeddings.how=alone`).  The paper fine-tunes BERT with such vectors beside its own; here they are learned from the first update.
The paper's second loss, which character a picture shows, is left out: with one font a picture names its character.
"""

from dataclasses import replace
from functools import partial

from bertsmith.nn.glyphs import Glyphs
from bertsmith.recipe import Member, Recipe
from bertsmith.recipes.bert import bert

SIZES = {"tiny": 16, "mini": 32, "base": 64}  # channels of the first layer


def bert_glyph(size: str = "base") -> Recipe:
    recipe = bert(size)
    model = replace(recipe.model, embeddings=Glyphs(channels=SIZES[size], segments=2))
    return replace(recipe, name="bert-glyph", tokenizer="wordpiece:21128", model=model).with_vocab(21_128)


MEMBERS = (
    Member(
        name="bert-glyph",
        paper="Meng et al. 2019, arXiv:1901.10125",
        about="BERT that sees pictures of Chinese characters beside learned vectors",
        sizes={size: partial(bert_glyph, size) for size in SIZES},
    ),
)
