"""Rows of a model's tables for new tokens: the mean of the rows of the pieces that their words were cut into (Koto et al. 2021, IndoBERTweet).

Old rows stay as they are, to the bit.  A table with rows to spare gives these first, so that it grows only where they do not suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount


def with_rows(
    weights: dict[str, Tensor],
    recipe: Recipe,
    pieces: Mapping[int, Sequence[int]],
    where: str,
    say: Callable[[str], None],
) -> dict[str, Tensor]:
    """`weights`, which have a row of a table for every token, with those of the new ones: {id: the ids it stands for}.

    Tables are the tensors that are longer in a recipe of one token more.  InputError where one is not a table of all tokens (adaptive
    softmax: each of its clusters has a width of its own, and there is no mean of two).
    """
    if not pieces:
        return weights
    rows, grown = recipe.model.vocab, {}
    longer = _shapes(replace(recipe, model=replace(recipe.model, vocab=rows + 1)))
    for name, shape in _shapes(recipe).items():
        if shape == longer[name]:
            continue
        if shape[:1] != (rows,) or longer[name] != (rows + 1, *shape[1:]):
            raise InputError(
                f"{where}: {name}: tokens stand there in clusters by how common they are, and new ones have no row that is the mean of their "
                "pieces'; prepare the text with the model's own tokenizer"
            )
        if name in weights:
            grown[name] = _grown(weights[name], rows, pieces)
    free = sum(i < len(weights[name]) for name in list(grown)[:1] for i in pieces)
    say(
        f"{amount(len(pieces), 'new token')}: rows of {', '.join(grown)} start as the means of their pieces'"
        + (f"; {free:,} of the rows were there to spare" if free else "")
    )
    return weights | grown


def _grown(table: Tensor, rows: int, pieces: Mapping[int, Sequence[int]]) -> Tensor:
    more = torch.zeros(max(0, rows - len(table)), *table.shape[1:], dtype=table.dtype)
    made = torch.cat([table, more])
    for i, of in pieces.items():
        made[i] = table[list(of)].double().mean(0).to(table.dtype)
    return made


def _shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(recipe).named_parameters()}
