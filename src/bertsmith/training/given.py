"""What a member must know of the whole corpus before it learns: how often each word stands there, how it is written, how it looks.

A part whose configuration says `knows_corpus` (a body, its embeddings, an objective) has a method `learn_of(corpus)`, and keeps what it makes of
a `Corpus` in buffers; these stand in every step, so that a model that is loaded needs no store.  A body whose buffers follow the words has
`for_words(words)` in its configuration.  v tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bertsmith.data.batch import Array
from bertsmith.recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Of each token of a store's tokenizer."""

    names: list[str]  # as the tokenizer writes it
    words: list[str | None]  # the same; None: a special one
    counts: Array  # (v,) how often it stands in the training text; special ones 0
    characters: list[str]  # of which words are spelled that are no tokens, where the tokenizer has such
    pictures: Array | None  # (v, s, s) uint8, where somebody looks at them

    @classmethod
    def of(cls, recipe: Recipe, store: Any, say: Callable[[str], None]) -> Corpus:
        """InputError where pictures are wanted and there is no font."""
        counts = store.unigrams.copy()
        counts[[*store.vocab.special, *store.vocab.wordless]] = 0
        names = store.tokenizer.tokens(range(store.vocab.size))
        mark, end = store.vocab.letters or (0, 1)
        said = {"words": words_of(store), "characters": names[mark + 1 : end]}
        return cls(names=names, counts=counts, **said, pictures=_pictures(recipe, store, say))


def words_of(store: Any) -> list[str | None]:
    special, backend = {*store.vocab.special, *store.vocab.wordless}, store.tokenizer.backend
    mark = backend.id_to_token(store.vocab.letters[0]) if store.vocab.letters else ""
    return [None if i in special else backend.id_to_token(i).removeprefix(mark) for i in range(store.vocab.size)]


def _pictures(recipe: Recipe, store: Any, say: Callable[[str], None]) -> Array | None:
    part = getattr(recipe.model, "embeddings", None)
    if not hasattr(part, "font"):
        return None
    from bertsmith.text.glyphs import bitmaps, said

    found = bitmaps(store.tokenizer, part.side, part.font)
    say(said(found))
    return found


def sized(recipe: Recipe, store: Any) -> Recipe:
    """The recipe, for the words of a store."""
    if getattr(recipe.model, "for_words", None) is None or not hasattr(store.tokenizer, "backend"):
        return recipe
    return replace(recipe, model=recipe.model.for_words(words_of(store)))


def knows_corpus(recipe: Recipe) -> bool:
    """Whether a part of the member wants to be told of the corpus."""
    parts = (recipe.model, getattr(recipe.model, "embeddings", None), recipe.objective)
    return any(getattr(part, "knows_corpus", False) for part in parts)


def learn_of(member: Any, corpus: Corpus) -> None:
    """Tell every part that wants it."""
    for part in member.modules():
        if hasattr(part, "learn_of"):
            part.learn_of(corpus)
