"""How a model brackets a text: the distances between its words that ordered neurons say, and the tree of them (Shen et al. 2019, section 5.2).

w words; the distance before a word is how much of what was remembered is forgotten there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks.sequences import encode

Tree = Any  # a word, or (Tree, Tree)


def tree(
    model: str | Path | Loaded,
    text: str,
    *,
    layer: int | None = None,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`{layer, words, distances, tree, brackets}`: `distances` (w,) between each word and the one before it, 0 before the first; `tree` in
    pairs, and as text.

    A constituent is parted before the word with the greatest distance, and so on in both parts.  (The authors' code then takes that word as the
    first of a pair by itself, which favours trees that branch to the right: Dyer et al. 2019, arXiv:1909.09428.)  `layer`: whose gates are
    read, from 1; None: the one in the middle, the second of three.  A word of several pieces has the distance of its first.
    InputError for a model without ordered neurons.
    """
    if not text.strip():
        raise InputError("tree: the text is empty; one with words is wanted")
    loaded = opened(model, members=members, say=say, base=base)
    config = loaded.recipe.model
    if not hasattr(getattr(config, "cell", None), "masters"):
        raise InputError(
            f"{printable(loaded.run)}: {loaded.recipe.name} has no order of units that would bracket a text; a model of on-lstm has"
        )
    layer = (config.layers + 1) // 2 if layer is None else layer
    if not 1 <= layer <= config.layers:
        raise InputError(f"{option('layer', layer)}: layers are 1 to {config.layers}")
    [(ids, starts)] = loaded.tokenizer.encode([text])
    words = _words(loaded, ids, starts)
    found = _distances(loaded, text, layer)[: len(ids)]
    distances = [0.0, *(round(float(d), 6) for d in found[starts][1:])]
    made = bracketed(words, distances)
    return {"layer": layer, "words": words, "distances": distances, "tree": made, "brackets": written(made)}


def _words(loaded: Loaded, ids: Any, starts: Any) -> list[str]:
    begin = [*starts.nonzero()[0].tolist(), len(ids)]
    return [loaded.tokenizer.decode(ids[a:b]).strip() for a, b in pairwise(begin)]


def _distances(loaded: Loaded, text: str, layer: int) -> Any:
    """(n,) of each token of the text, NumPy, dropout off."""
    import torch

    encoded = encode(loaded.tokenizer, [text], None, loaded.reading(on_long="error"))
    lead = loaded.reading().lead
    body = loaded.member.eval().model
    with torch.no_grad(), loaded.exact.policy(), loaded.exact.autocast():
        stream = encoded.batch(np.arange(len(encoded))).input.to(loaded.device)
        return body.distances(stream, layer)[lead:].cpu().numpy()


def bracketed(words: Sequence[str], distances: Sequence[float]) -> Tree:
    """The tree over `words` (w,); the first distance is that before the first word, and not read."""
    if len(words) == 1:
        return words[0]
    at = max(range(1, len(words)), key=lambda i: distances[i])
    return [bracketed(words[:at], distances[:at]), bracketed(words[at:], distances[at:])]


def written(made: Tree) -> str:
    return made if isinstance(made, str) else f"({written(made[0])} {written(made[1])})"
