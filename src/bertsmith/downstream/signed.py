"""A model whose tokenizer gets the marks of a task as tokens of their own, and whose tables get a row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from bertsmith import files
from bertsmith.deploy import folder
from bertsmith.downstream.methods import Method
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.training.run import STEPS, TOKENIZER


def with_marks(loaded: Loaded, marks: dict[str, str], way: Method, say: Callable[[str], None]) -> Loaded:
    """`marks`: each with the word of whose pieces its row is the mean at first.  The model itself where its tokenizer has them all.

    InputError for a method whose run stands on the model as it was.
    """
    new = [mark for mark in marks if loaded.tokenizer.backend.token_to_id(mark) is None]
    if not new:
        return loaded
    _check_kept(new, way)
    import tokenizers

    from bertsmith.nn.member import blank
    from bertsmith.text.tokenizer import Tokenizer
    from bertsmith.training.rows import with_rows
    from bertsmith.training.saving import load_weights, weights_of

    old = loaded.tokenizer
    backend = tokenizers.Tokenizer.from_str(old.backend.to_str())
    backend.add_special_tokens([tokenizers.AddedToken(mark, special=True, normalized=False) for mark in new])
    tokenizer = Tokenizer(backend, old.roles, old.segmenter)
    tokenizer.entities = old.entities
    recipe = loaded.recipe.with_vocab(tokenizer.size, loaded.recipe.model.vocab)
    pieces = {backend.token_to_id(mark): [int(i) for i in old.encode([marks[mark]])[0][0]] for mark in new}
    weights = with_rows(weights_of(loaded.member), recipe, pieces, str(loaded.run), say)
    member = blank(recipe)
    load_weights(member, weights, str(loaded.path))
    made: Any = member.to(loaded.device).eval()
    return replace(loaded, member=made, recipe=recipe, tokenizer=tokenizer, marks=tuple(new))


def check_marks(model: Any, marks: Iterable[str], way: Method) -> None:
    """InputError for such a method before a model is loaded, by what stands in the file of its tokenizer."""
    if not way.alone or isinstance(model, Loaded):
        return
    path = folder.located(model)
    file = (path.parent.parent if path.parent.name == STEPS else path) / TOKENIZER
    data = files.plain(file) if file.is_file() else None
    if data is not None:
        _check_kept([mark for mark in marks if f'"{mark}"'.encode() not in data], way)


def _check_kept(new: list[str], way: Method) -> None:
    if new and way.alone:
        raise InputError(
            f"{option('method', way.name)}: the marks {' and '.join(new)} are new tokens, whose rows such a run does not keep; {option('method', 'full')} does"
        )
