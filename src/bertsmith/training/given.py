"""What a member must know of the whole corpus before it learns: how often each word stands there, how it is spelled.

A part of a member says that it wants it by a method `learn_of(words, counts)`, and keeps what it makes of it in buffers; these stand in every step, so that a
model that is loaded needs no store.  A body whose buffers follow the words has `for_words(words)` in its configuration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bertsmith.recipe import Recipe


def words_of(store: Any) -> list[str | None]:
    """The tokens of a store's tokenizer as they are written; None: a special one."""
    special = {*store.vocab.special, store.vocab.unk}
    return [None if i in special else store.tokenizer.backend.id_to_token(i) for i in range(store.vocab.size)]


def sized(recipe: Recipe, store: Any) -> Recipe:
    """The recipe, for the words of a store."""
    if getattr(recipe.model, "for_words", None) is None or not hasattr(store.tokenizer, "backend"):
        return recipe
    return replace(recipe, model=recipe.model.for_words(words_of(store)))


def knows_corpus(recipe: Recipe) -> bool:
    """Whether a part of the member wants to be told of the corpus."""
    return any(getattr(part, "knows_corpus", False) for part in (recipe.model, recipe.objective))


def learn_of(member: Any, store: Any) -> None:
    """Tell every part that wants it."""
    import torch

    counts = torch.from_numpy(store.unigrams.copy())
    counts[[*store.vocab.special, store.vocab.unk]] = 0
    words = words_of(store)
    for part in member.modules():
        if hasattr(part, "learn_of"):
            part.learn_of(words, counts)
