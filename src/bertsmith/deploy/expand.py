"""`expand`: a model reads the words of a file of word vectors, too (Kiros et al. 2015, section 2.2: vocabulary expansion).

A matrix from the file's vectors to the model's own is found by least squares over the words that both have; every other word of the file is
a new token whose row is what the matrix makes of its vector.  V words that both have, d numbers of a vector of the file, e of the table's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith import files
from bertsmith.config import check_members
from bertsmith.downstream.based import plain
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text import word_vectors
from bertsmith.text.extend import fitting

if TYPE_CHECKING:
    from torch import nn


def expand(
    model: str | Path | Loaded,
    *,
    vectors: str | Path,
    out: str | Path,
    limit: int | None = None,
    force: bool = False,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`model` at `out` with the words of `vectors`, the first `limit` of them; returns {out, shared, new, left_out, fit}.

    `shared`: words of the file that are one token of the model; `new`: those that became one; `left_out`: those that its tokenizer's rule
    would write otherwise or cut; `fit`: the mean cosine of a shared word's row and what the matrix makes of its vector.
    What is made is a trunk for embed and finetune: heads that say tokens know none of the new ones, and are left behind.
    InputError where the model has no single table of tokens, where fewer words are shared than none, and for an `out` that is taken.
    """
    from bertsmith.deploy.model_folder import check_free, write_model
    from bertsmith.training.run import Imported

    if limit is not None and limit < 1:
        raise InputError(f"{option('limit', limit)}: must be above 0")
    if not isinstance(model, Loaded):
        check_model(model)
    check_members(members)
    check_free(Imported(out), force)
    files.check_place(Path(out))
    words, given, _ = word_vectors.read(vectors)
    words, given = words[:limit], given[:limit]
    loaded = plain(opened(model, "cpu", members, say))
    tables = _tables(loaded)
    whole = dict(zip(words, _single(loaded.tokenizer, words), strict=True))
    shared = {word: token for word, token in whole.items() if token is not None}
    if not shared:
        raise InputError(
            f"{printable(vectors)}: no word of it is one token of {printable(loaded.run)}; vectors of the same language and letters are wanted"
        )
    others = fitting(loaded.tokenizer, [word for word, token in whole.items() if token is None])
    tokenizer = loaded.tokenizer.extend(others)
    number = {word: row for row, word in enumerate(words)}
    rows = {i: number.get(tokenizer.decode([i]).strip()) for i in range(loaded.tokenizer.size, tokenizer.size)}
    made, fit = [], []
    for table in tables:
        old = table.weight.detach().numpy().astype(np.float64)
        known = given[[number[word] for word in shared]].astype(np.float64)
        matrix = np.linalg.lstsq(known, old[list(shared.values())], rcond=None)[0]
        fit.append(_cosine(known @ matrix, old[list(shared.values())]))
        new = (
            np.stack([given[row] @ matrix if row is not None else old.mean(0) for row in rows.values()])
            if rows
            else old[:0]
        )
        made.append(np.concatenate([old[: loaded.tokenizer.size], new]).astype(np.float32))
    if len(shared) < given.shape[1]:
        say(
            f"warning: {amount(len(shared), 'word')} of both, and vectors of {given.shape[1]} numbers: many matrices fit all of them; more words, or shorter vectors"
        )
    member, recipe = _member(loaded, made)
    left = len(words) - len(shared) - len(others)
    about = {"file": str(vectors), "sha256": files.sha256(Path(vectors)), "shared": len(shared), "new": len(others)}
    source = {"path": str(loaded.path), "weights": loaded.weights, "model_type": recipe.name, "expanded": about}
    text = tokenizer.backend.to_str().encode()
    with files.partial(Path(out)) as folder, files.writing(Path(out)):
        write_model(Imported(folder), member, recipe, tokenizer, text, source, vectors=loaded.vectors or None)
        check_free(Imported(out), force)
        files.publish(folder, Path(out))
    say(
        f"{printable(vectors)}: {amount(len(words), 'word')}: {len(shared):,} are tokens of the model, {len(others):,} become one, "
        f"{left:,} are left out, which its tokenizer would write otherwise or cut; mean cosine of the first {np.mean(fit):.3f}"
    )
    dropped = ", ".join(loaded.member.weights())
    say(
        f"{printable(out)}: a trunk of {amount(tokenizer.size, 'token')}"
        + f"; heads left behind: {dropped}" * bool(dropped)
    )
    return {"out": str(out), "shared": len(shared), "new": len(others), "left_out": left, "fit": float(np.mean(fit))}


def _tables(loaded: Loaded) -> list[nn.Embedding]:
    """The token table of every body.  InputError where one has none."""
    from torch import nn

    if loaded.recipe.surgery is not None or hasattr(loaded.recipe.model, "learns"):
        raise InputError(f"{printable(loaded.run)}: holds other models; expand those")
    body = loaded.member.model
    found = [part.tokens for part in getattr(body, "bodies", [body])]
    if not all(isinstance(table, nn.Embedding) for table in found):
        raise InputError(
            f"{printable(loaded.run)}: {loaded.recipe.name} has no single table of tokens, and vectors of words fit none else"
        )
    return found


def _single(tokenizer: Any, words: list[str]) -> list[int | None]:
    """The token that each word is, behind a blank; None where it is several, or not known."""
    unknown = tokenizer.vocab.unk
    encoded = tokenizer.encode([" " + word for word in words])
    return [int(ids[0]) if len(ids) == 1 and ids[0] != unknown else None for ids, _ in encoded]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over the rows."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(1) / np.maximum(lengths, 1e-12)))


def _member(loaded: Loaded, tables: list[np.ndarray]) -> tuple[Any, Any]:
    """The trunk with other tables, and its recipe."""
    import torch

    from bertsmith.nn.member import blank
    from bertsmith.objectives.predict import Trunk

    pooler = getattr(loaded.recipe.objective, "pooler", "tanh")
    model = replace(loaded.recipe.model, vocab=len(tables[0]))
    recipe = replace(loaded.recipe, model=model, objective=Trunk(pooler=pooler), mixture=None, brief=None)
    member, body = blank(recipe), loaded.member.model
    state = dict(body.state_dict())
    own = {id(part.tokens.weight): table for part, table in zip(getattr(body, "bodies", [body]), tables, strict=True)}
    for name, weight in body.named_parameters():
        if id(weight) in own:
            state[name] = torch.from_numpy(own[id(weight)])
    member.model.load_state_dict(state)
    return member.eval(), recipe
