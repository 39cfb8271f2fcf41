"""Words and texts that are near one another in a model: neighbours, analogies, and how they agree with people's judgements.

Words are those of the model's vocabulary, by the rows of its token table: static vectors as they are, of other models what a token is before it is read in a context.
A word of several tokens has their mean, one that no token stands for what its letters say (fastText) or nothing.  Texts are compared by `embed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option
from bertsmith.tasks import words as questions
from bertsmith.tasks.ranking import unit

Array = np.ndarray


class Words:
    """The words of a model (v,) and their vectors (v, d), of length 1; `vector(word)` of any other word, too, None where it has none."""

    def __init__(self, loaded: Loaded):
        self.loaded = loaded
        rows = _rows(loaded)
        ids, self.names = _whole(loaded)
        self.raw = rows[ids]
        self.unit, self._all = unit(self.raw), rows
        self.index = {name: i for i, name in reversed(list(enumerate(self.names)))}

    def number(self, word: str) -> int | None:
        """Which of the words it is, as the tokenizer writes it."""
        found = self._read(word)
        return self.index.get(word, self.index.get(found) if found is not None else None)

    def _read(self, word: str) -> str | None:
        normalizer = self.loaded.tokenizer.backend.normalizer
        return normalizer.normalize_str(word).strip() if normalizer is not None else word

    def vector(self, word: str) -> Array | None:
        """(d,) of length 1."""
        number = self.number(word)
        if number is not None:
            return self.unit[number]
        (ids, _), *_ = self.loaded.tokenizer.encode([word])
        ids = np.asarray(ids, np.int64)
        if len(ids) and getattr(self.loaded.recipe.model, "composes", False):
            return unit(read(self.loaded.member.model, ids))
        if len(ids) and getattr(self.loaded.recipe.model, "grams", None) is not None:
            return unit(self._spelled(word.split()))
        if not len(ids) or np.isin(ids, self.loaded.vocab.wordless).any():
            return None
        return unit(self._all[ids].mean(0))

    def _spelled(self, words: list[str]) -> Array:
        """(d,): the mean of words, of which those that no token stands for have what their letters say."""
        numbers = [self.number(word) for word in words]
        unknown = [self._read(word) for word, number in zip(words, numbers, strict=True) if number is None]
        made = self.loaded.member.model.spelled(unknown).detach().cpu().numpy() if unknown else self.raw[:0]
        return np.concatenate([self.raw[[number for number in numbers if number is not None]], made]).mean(0)


def read(model: Any, ids: Array) -> Array:
    """(d,): the mean of what words are before they are read, of a body that composes those that are spelled."""
    import torch

    from bertsmith.nn.body import texts
    from bertsmith.nn.modules.hybrid import streamed

    stream = streamed(torch.from_numpy(ids), (len(ids),))
    with torch.no_grad():
        (found,) = texts(model, model.eval().states(stream, 0)[0], stream)
    return found.mean(0).float().numpy()


def check_words(loaded: Loaded) -> None:
    """InputError for a model that has no one table of tokens."""
    import torch

    body = loaded.member.model
    if not hasattr(body, "vectors") and not isinstance(getattr(body, "tokens", None), torch.nn.Embedding):
        raise InputError(
            f"{printable(loaded.run)}: {loaded.recipe.name} has no one table of tokens, whose rows are words' vectors; similar {option('among', like='FILE')} compares texts, by what it reads in them"
        )


def _rows(loaded: Loaded) -> Array:
    """(V, d) of all tokens."""
    import torch

    check_words(loaded)
    body: Any = loaded.member.model
    with torch.no_grad():
        if hasattr(body, "vectors"):
            made = [body.vectors(part) for part in torch.arange(loaded.tokenizer.size).split(65_536)]
            return torch.cat(made).float().cpu().numpy()
        return body.tokens.weight[: loaded.tokenizer.size].float().cpu().numpy()


def _whole(loaded: Loaded) -> tuple[Array, list[str]]:
    """Tokens that are words, and these as they are written: no specials, no pieces of words."""
    tokenizer, special = loaded.tokenizer, {*loaded.vocab.special, *loaded.vocab.wordless}
    tokens = [tokenizer.backend.id_to_token(i) for i in range(tokenizer.size)]
    kind = type(tokenizer.backend.model).__name__
    marks = {mark for mark in ("\u2581", "\u0120") if any(token.startswith(mark) for token in tokens if token)}
    ends = any(token.endswith("</w>") for token in tokens if token)
    ids, names = [], []
    for i, token in enumerate(tokens):
        if token is None or i in special:
            continue
        if kind == "WordPiece" and token.startswith("##"):
            continue
        if (marks and token[:1] not in marks) or (ends and not token.endswith("</w>")):
            continue
        name = tokenizer.backend.decode([i]).strip() if marks or ends else token
        if name:
            ids.append(i)
            names.append(name)
    return np.array(ids, np.int64), names


def similar(
    model: str | Path | Loaded,
    text: str | None = None,
    *,
    top: int = 10,
    analogy: Sequence[str] | None = None,
    way: str = "add",
    among: Any = None,
    pairs: str | Path | None = None,
    analogies: str | Path | None = None,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """What is near `text`: {"text", "near": [{"text", "cosine"}]}; its neighbours among the model's words, or among the texts of `among` (a file, or a list).

    `analogy`: three words a, b, c; what is to c what b is to a, by 3CosAdd (`way` "add") or 3CosMul ("mul").
    `pairs`, `analogies`: files of questions (tasks/words.py); {"pairs": …}, {"analogies": …} with 95 % intervals by resampling the questions.
    InputError where nothing, or too much, is asked, and for a word that has no vector.
    """
    asked = {"text": text, "analogy": analogy, "pairs": pairs, "analogies": analogies}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1 and given != ["pairs", "analogies"]:
        raise InputError(
            f"similar: a WORD or SENTENCE, {option('analogy', like='A B C')}, {option('pairs', like='FILE')} or {option('analogies', like='FILE')} is wanted, one of them"
        )
    if way not in questions.WAYS:
        raise InputError(f"{option('way', way)}: unknown; {nearest(str(way), questions.WAYS)}")
    if top < 1:
        raise InputError(f"{option('top', top)}: must be above 0")
    if analogy is not None and (isinstance(analogy, str) or len(analogy) != 3):
        raise InputError(f"{option('analogy')}: three words are wanted, A B C: what is to C what B is to A")
    files_read = {
        "pairs": None if pairs is None else questions.pairs(pairs),
        "analogies": None if analogies is None else questions.analogies(analogies),
    }
    if not isinstance(model, Loaded):
        check_model(model)
    loaded = opened(model, members=members, say=say, base=base)
    if among is not None:
        if text is None:
            raise InputError(f"{option('among')}: of a text alone")
        return _among(loaded, text, among, top, say)
    words = Words(loaded)
    if text is not None:
        return near(words, text, top)
    if analogy is not None:
        a, b, c = (_vector(words, word)[None] for word in analogy)
        return {
            "analogy": [*analogy],
            "way": way,
            "near": _near(words, questions.said(words.unit, a, b, c, way), top, analogy),
        }
    found: dict[str, Any] = {"words": len(words.names)}
    if files_read["pairs"] is not None:
        found["pairs"] = questions.similarity(files_read["pairs"], words.vector)
    if files_read["analogies"] is not None:
        found["analogies"] = questions.solved(files_read["analogies"], words.unit, words.number)
    return found


def near(words: Words, text: str, top: int) -> dict[str, Any]:
    """{"text", "near": [{"text", "cosine"}]} among the words."""
    return {"text": text, "near": _near(words, _vector(words, text)[None] @ words.unit.T, top, [text])}


def _vector(words: Words, text: str) -> Array:
    found = words.vector(text)
    if found is None:
        raise InputError(
            f"{printable(repr(text), 60)}: no word of it has a vector in {printable(words.loaded.run)}; another word, or a model with pieces of words"
        )
    return found


def _near(words: Words, scores: Array, top: int, but: Sequence[str]) -> list[dict[str, Any]]:
    scores = scores[0].copy()
    scores[[number for word in but if (number := words.number(word)) is not None]] = -np.inf
    order = np.argsort(-scores, kind="stable")[:top]
    return [
        {"text": words.names[i], "cosine": round(float(scores[i]), 6)} for i in order.tolist() if np.isfinite(scores[i])
    ]


def _among(loaded: Loaded, text: str, among: Any, top: int, say: Callable[[str], None]) -> dict[str, Any]:
    from bertsmith.downstream.embed import embed
    from bertsmith.tasks.given import source
    from bertsmith.tasks.readers import read

    given = read(source(among, "among", fields=("text",), pair=("text",))).columns["text"]
    texts = [one for one in given if one.strip()]
    if not texts:
        raise InputError(f"{option('among')}: no text in it")
    return among_vectors(loaded, text, texts, embed(loaded, [text, *texts], say=say), top)


def among_vectors(loaded: Loaded, text: str, texts: Sequence[str], made: Array, top: int) -> dict[str, Any]:
    """The nearest of `texts`; `made` (1 + n, width): the vectors of `text` and of these."""
    if not made[0].any():
        raise InputError(
            f"{printable(repr(text), 60)}: no word of it has a vector in {printable(loaded.run)}; another text is wanted"
        )
    vectors = unit(made)
    scores = vectors[1:] @ vectors[0]
    order = np.argsort(-scores, kind="stable")[:top]
    return {"text": text, "near": [{"text": texts[i], "cosine": round(float(scores[i]), 6)} for i in order.tolist()]}
