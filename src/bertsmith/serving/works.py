"""What a request asks, made ready for a pass: its texts as tokens, so that mistakes in them are its own, and how a verb's answers come of it.

Every one of them goes the way of the verb of its name (`predict`, `fill`, `embed`, …), which is parted where requests may be joined: encoded
each by itself, read together, and answered each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bertsmith.downstream import embed as embedding
from bertsmith.downstream import fill as filling
from bertsmith.downstream import predict as predicting
from bertsmith.errors import InputError
from bertsmith.serving.limits import Limits
from bertsmith.serving.line import Work
from bertsmith.serving.refused import Refused
from bertsmith.serving.shelf import Served
from bertsmith.spelling import amount
from bertsmith.tasks.given import source
from bertsmith.tasks.sequences import Encoded, joined
from bertsmith.tasks.written import joined_pairs

Make = Callable[[Served, Any, Limits], Work]


class Notes(list):
    """What a verb says of the texts on the way, for the answer."""

    def __call__(self, line: str) -> None:
        self.append(line.removeprefix("warning: "))


def _split(values: Any, sizes: Sequence[int]) -> list[Any]:
    """What was said of all parts, each its own share."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [values[a:b] for a, b in pairwise(ends)]


def _tokens(tokens: int, limits: Limits, field: str) -> int:
    if tokens > limits.tokens:
        raise Refused(
            422, f"{amount(tokens, 'token')} as the model reads them; at most {limits.tokens:,} a request", field
        )
    return tokens


# -- tasks ------------------------------------------------------------------------------------------------------------------------------


def rows(served: Served, asked: Any, limits: Limits) -> Work:
    """`predict`, `tag` and `answer`; `top`: the best answers of "qa", `explain`: what the answers lean on."""
    loaded, kind, notes = served.loaded, served.kind, Notes()
    name, given = asked.given()
    table = predicting.rows_of(
        loaded, kind, source(given, name, fields=kind.fields, pair=kind.pair), None, None, None, notes, labelled=False
    )
    encoded = predicting.encoded_rows(loaded, kind, table, None, notes)
    top, explain = getattr(asked, "top", None), getattr(asked, "explain", False)
    if explain and not served.explains:
        raise Refused(422, f"{served.name} has no answer of one number that could lean on tokens", "explain")

    def together(parts: list[Any]) -> list[Any]:
        read = joined_pairs(parts) if kind.writes else joined(parts)
        values = predicting.spoken(loaded, kind, read)
        said = _split(values, [len(part) if kind.writes else len(part.places) for part in parts])
        if not explain:
            return said
        from bertsmith.downstream.saliency import saliency

        leans = saliency(loaded, read, kind.leaning)
        return [*zip(said, _split(leans, [len(part.tokens) for part in parts]))]

    def finish(part: Any) -> list[dict[str, Any]]:
        values, leans = part if explain else (part, None)
        said = predicting.heard(loaded, kind, table, encoded, values)
        found = kind.answer(table, said, loaded.labels)
        if top is not None:
            found = [one | more for one, more in zip(found, kind.ranked(table, said, loaded.labels, top), strict=True)]
        if leans is not None:
            found = [one | {"tokens": told} for one, told in zip(found, _leaned(served, encoded, leans))]
        return found

    key = (served, "rows", explain, getattr(encoded, "parts", None) is None)
    total = _tokens(len(encoded.tokens), limits, name)
    return Work(key=key, tokens=total, part=encoded, together=together, finish=finish, notes=tuple(notes))


def _leaned(served: Served, encoded: Encoded, leans: np.ndarray) -> list[list[dict[str, Any]]]:
    """Of each row its tokens and how much each speaks for the answer; of windows one after another."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(encoded.rows)]
    ends = np.cumsum(encoded.lengths)
    for owner, end, length in zip(encoded.owner.tolist(), ends.tolist(), encoded.lengths.tolist()):
        own = slice(end - length, end)
        pieces = served.loaded.tokenizer.people.pieces(encoded.tokens[own].tolist())
        found[owner] += [
            {"text": piece.text, "space": piece.space, "special": piece.special, "lean": lean}
            for piece, lean in zip(pieces, leans[own].tolist(), strict=True)
        ]
    return found


# -- texts ------------------------------------------------------------------------------------------------------------------------------


def fill(served: Served, asked: Any, limits: Limits) -> Work:
    loaded, notes, texts = served.loaded, Notes(), asked.texts
    reading = filling.check_fills(loaded)
    filling.check_top(loaded, asked.top)
    if loaded.recipe.model.decodes:
        return _written(served, texts, asked.top, limits)
    parts = []
    for i, text in enumerate(texts):
        try:
            parts.append(filling.encoded_masks(loaded, text, reading, f"texts[{i}]", notes))
        except InputError as error:
            raise InputError(f"texts[{i}]: {error}") from None
    encoded = joined(parts)
    masks = [len(part.places) for part in parts]
    if sum(masks) > limits.masks:
        raise Refused(422, f"{amount(sum(masks), 'mask')}; at most {limits.masks} a request", "texts")

    def finish(p: np.ndarray) -> list[dict[str, Any]]:
        told = zip(texts, parts, _split(p, masks), strict=True)
        return [filling.filled(loaded, text, part, own, asked.top) for text, part, own in told]

    return Work(
        key=(served, "fill"),
        tokens=_tokens(len(encoded.tokens), limits, "texts"),
        part=encoded,
        together=lambda all_: _split(filling.shares(loaded, joined(all_)), [len(one.places) for one in all_]),
        finish=finish,
        notes=tuple(notes),
    )


def _written(served: Served, texts: list[str], top: int, limits: Limits) -> Work:
    """By a model with a decoder, text after text: what is written at a mask depends on the masks before it."""
    loaded, notes = served.loaded, Notes()
    ids = [ids for ids, _ in loaded.tokenizer.encode(texts, specials=True)]

    def together(parts: list[list[str]]) -> list[Any]:
        return [[filling.written(loaded, text, top, "the text", notes) for text in part] for part in parts]

    total = _tokens(sum(map(len, ids)), limits, "texts")
    return Work(key=object(), tokens=total, part=texts, together=together, finish=lambda found: found)


def embed(served: Served, asked: Any, limits: Limits) -> Work:
    """Vectors as an array (texts, width)."""
    loaded, notes, texts = served.loaded, Notes(), asked.texts
    embedding.check_pool(asked.pool)
    wanted = embedding.asking(
        loaded, pool=asked.pool, normalise=asked.normalise, layer=asked.layer, dim=asked.dim, prompt=asked.prompt
    )
    where = f"{asked.field}[{{}}]".format
    encoded = embedding.encoded_texts(loaded, wanted, texts, None, asked.field, where, notes)
    return Work(
        key=(served, "embed", wanted),
        tokens=_tokens(len(encoded.tokens), limits, asked.field),
        part=encoded,
        together=lambda parts: _split(
            embedding.vectors_of(loaded, wanted, joined(parts)), [part.rows for part in parts]
        ),
        finish=lambda vectors: vectors,
        notes=tuple(notes),
    )


def generate(served: Served, asked: Any, limits: Limits) -> Work:
    """A text that is drawn depends on its seed and its number in the request, and so shares no pass."""
    from bertsmith.downstream.generate import BATCH
    from bertsmith.downstream.search import How
    from bertsmith.downstream.writers import Writers

    names = ("limit", "beam", "sample", "temperature", "top_k", "top_p", "no_repeat", "seed")
    how = How(**{name: getattr(asked, name) for name in names})
    writers = Writers(served.loaded, how, on_long="error")
    texts = writers.read(asked.texts)
    where = "texts[{}]".format
    for i, ids in enumerate(texts):
        writers.check(ids, where(i))

    def together(parts: list[list[np.ndarray]]) -> list[Any]:
        said = writers.write([ids for part in parts for ids in part], where, BATCH, lambda line: None)
        return _split(said, [len(part) for part in parts])

    return Work(
        key=object() if asked.sample else (served, "generate", how),
        tokens=_tokens(sum(map(len, texts)) + asked.limit * len(texts), limits, "texts"),
        part=texts,
        together=together,
        finish=lambda found: found,
    )


# -- looking ----------------------------------------------------------------------------------------------------------------------------


def attention(served: Served, asked: Any, limits: Limits) -> Work:
    """Of one layer, or of one head of it."""
    from bertsmith.downstream.attention import looked, read

    encoded = read(served.loaded, asked.text, asked.text2)
    if len(encoded.tokens) > limits.attend:
        many = amount(len(encoded.tokens), "token")
        raise Refused(422, f"{many}; the attention of at most {limits.attend} is told", "text")

    def finish(found: dict[str, Any]) -> dict[str, Any]:
        layers = found["layers"]
        if asked.layer >= len(layers):
            raise Refused(422, f"{asked.layer}: there are {len(layers)}, counted from 0", "layer")
        layer = layers[asked.layer]
        if asked.head is not None and asked.head >= len(layer["weights"]):
            raise Refused(422, f"{asked.head}: there are {len(layer['weights'])}, counted from 0", "head")
        weights = layer["weights"] if asked.head is None else layer["weights"][asked.head : asked.head + 1]
        return {
            "tokens": found["tokens"],
            "layers": [one["name"] for one in layers],
            "heads": len(layer["weights"]),
            "weights": [[[round(w, 4) for w in row] for row in head] for head in weights.tolist()],
        }

    together = lambda parts: [looked(served.loaded, part, 0) for part in parts]
    return Work(key=(served, "attention"), tokens=len(encoded.tokens), part=encoded, together=together, finish=finish)


def similar(served: Served, asked: Any, limits: Limits) -> Work:
    """Neighbours of a word among the model's words, or of a text among texts that are given."""
    from bertsmith.downstream import similar as looking

    loaded, notes = served.loaded, Notes()
    if asked.among is None:
        looking.check_words(loaded)
        if not asked.text.strip():
            raise Refused(422, "is empty; a word is wanted", "text")
        told = lambda part: looking.near(served.words, part, asked.top)
        each = lambda parts: [told(part) for part in parts]
        return Work(key=object(), tokens=1, part=asked.text, together=each, finish=lambda found: found)
    texts = [one for one in asked.among if one.strip()]
    if not texts:
        raise Refused(422, "no text in it", "among")
    wanted = embedding.asking(loaded)
    every = [asked.text, *texts]
    where = lambda i: f"among[{i - 1}]" if i else "text"
    encoded = embedding.encoded_texts(loaded, wanted, every, None, "among", where, notes)
    return Work(
        key=(served, "embed", wanted),
        tokens=_tokens(len(encoded.tokens), limits, "among"),
        part=encoded,
        together=lambda parts: _split(
            embedding.vectors_of(loaded, wanted, joined(parts)), [part.rows for part in parts]
        ),
        finish=lambda vectors: looking.among_vectors(loaded, asked.text, texts, vectors, asked.top),
        notes=tuple(notes),
    )
