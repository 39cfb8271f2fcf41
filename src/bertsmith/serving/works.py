"""What requests ask of a model, answered together: the texts of all that share a pass are read, encoded and answered in one go, by the steps that
the verbs are made of (`predict`, `fill`, `embed`, …), and each request gets its own rows of it.

A mistake in one request stops the pass before the model is asked; the line then parts the requests (line.py), so that it is told to its own.
What a verb would say on the way (texts that are cut, tokens that are unknown) is each request's own, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bertsmith.downstream import embed as embedding
from bertsmith.downstream import fill as filling
from bertsmith.downstream import predict as predicting
from bertsmith.errors import InputError
from bertsmith.serving.limits import Limits
from bertsmith.serving.line import Said, Work
from bertsmith.serving.refused import Refused
from bertsmith.serving.shelf import Served
from bertsmith.spelling import amount
from bertsmith.tasks.given import source
from bertsmith.tasks.sequences import Encoded, joined
from bertsmith.text import unknown

Array = np.ndarray
Make = Callable[[Served, Any, Limits], Work]


class Notes(list):
    """What a verb says of the texts on the way, for the answer."""

    def __call__(self, line: str) -> None:
        self.append(line.removeprefix("warning: "))


def silent(line: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Part:
    """Of one request: what stands in its field; `top`: how many answers it wants, where that need not be the same for all."""

    given: list[Any]
    top: int | None = None

    def __len__(self) -> int:
        return len(self.given)


def _ends(sizes: Sequence[int]) -> list[tuple[int, int]]:
    return [*pairwise(np.cumsum([0, *sizes]).tolist())]


def _together(
    parts: list[Part],
    encode: Callable[[list[Any], Any], tuple[Any, Encoded]],
    answer: Callable[[Any, Encoded], Sequence[Any]],
    served: Served,
    limits: Limits,
    field: str,
) -> list[Said | Exception]:
    """`encode(given, say)`: (what `answer` needs, how the model reads it); `answer`: something of each that was given."""
    read, encoded = encode([one for part in parts for one in part.given], silent)
    tokens = np.bincount(encoded.owner, encoded.lengths, encoded.rows)
    own = [int(tokens[a:b].sum()) for a, b in _ends([*map(len, parts)])]
    large = [total > limits.tokens for total in own]
    if any(large):
        fits = (
            iter(_together([p for p, no in zip(parts, large) if not no], encode, answer, served, limits, field))
            if not all(large)
            else iter(())
        )
        return [_large(total, limits, field) if no else next(fits) for total, no in zip(own, large)]
    found, odd = answer(read, encoded), _odd(encoded, served)
    told = []
    for part, (a, b), total in zip(parts, _ends([*map(len, parts)]), own):
        notes = Notes()
        if odd[a:b].any():
            encode(part.given, notes)
        told.append(Said(found[a:b], total, tuple(notes)))
    return told


def _large(tokens: int, limits: Limits, field: str) -> Refused:
    return Refused(
        422, f"{amount(tokens, 'token')} as the model reads them; at most {limits.tokens:,} a request", field
    )


def _odd(encoded: Encoded, served: Served) -> Array:
    """(rows,) of which there may be something to say: that they are long, or have what the tokenizer has no token for."""
    found = np.ones(encoded.rows, bool)
    vocab = served.loaded.vocab
    if encoded.notes or encoded.tokens.ndim > 1 or vocab.unk in (vocab.cls, vocab.sep):
        return found
    lost = np.add.reduceat(encoded.tokens == vocab.unk, np.cumsum(encoded.lengths) - encoded.lengths, dtype=np.int64)
    rows = lambda values: np.bincount(encoded.owner, values, encoded.rows)
    found = rows(lost) > unknown.SOME / 2 * rows(encoded.lengths)
    longest = np.zeros(encoded.rows, np.int64)
    np.maximum.at(longest, encoded.owner, encoded.lengths)
    return found | (longest >= encoded.reading.length) | (rows(np.ones(len(encoded))) > 1)


# -- tasks ------------------------------------------------------------------------------------------------------------------------------


def rows(served: Served, asked: Any, limits: Limits) -> Work:
    """`predict`, `tag` and `answer`; `top`: the best answers of "qa", `explain`: what the answers lean on."""
    loaded, kind = served.loaded, served.kind
    field, given = asked.given()
    explain = getattr(asked, "explain", False)
    if explain and not served.explains:
        raise Refused(422, f"{served.name} has no answer of one number that could lean on tokens", "explain")
    if "id" in kind.fields:  # by its number in the request, and not in the pass
        given = [{"id": str(i), **row} if isinstance(row, dict) else row for i, row in enumerate(given)]

    def encode(all_: list[Any], say: Any) -> tuple[Any, Any]:
        named = source(all_, field, fields=kind.fields, pair=kind.pair)
        table = predicting.rows_of(loaded, kind, named, None, None, None, say, labelled=False)
        encoded = predicting.encoded_rows(loaded, kind, table, None, say)
        return (table, encoded), encoded.read if kind.writes else encoded

    def answer(read: Any, _: Any) -> list[dict[str, Any]]:
        table, encoded = read
        said = predicting.heard(loaded, kind, table, encoded, predicting.spoken(loaded, kind, encoded))
        found = kind.answer(table, said, loaded.labels)
        if top:
            found = [one | more for one, more in zip(found, kind.ranked(table, said, loaded.labels, top), strict=True)]
        if explain:
            found = [one | {"tokens": told} for one, told in zip(found, _leaned(served, encoded), strict=True)]
        return found

    def together(parts: list[Part]) -> list[Said | Exception]:
        told = _together(parts, encode, answer, served, limits, field)
        for part, said in zip(parts, told):
            if top and isinstance(said, Said):
                for row in said.found:
                    row["answers"] = row["answers"][: part.top]
        return told

    top = getattr(asked, "top", None)
    # Rows of other fields are read otherwise, and so are words that are given one by one.
    shape = tuple(sorted(given[0])) if isinstance(given[0], dict) else type(given[0])
    return Work(key=(served, field, shape, explain, top), size=_size(given), part=Part(given, top), together=together)


def _leaned(served: Served, encoded: Encoded) -> list[list[dict[str, Any]]]:
    """Of each row its tokens and how much each speaks for the answer; of windows one after another."""
    from bertsmith.downstream.saliency import saliency

    leans = saliency(served.loaded, encoded, served.kind.leaning)
    found: list[list[dict[str, Any]]] = [[] for _ in range(encoded.rows)]
    for owner, (start, end) in zip(encoded.owner.tolist(), _ends(encoded.lengths.tolist()), strict=True):
        pieces = served.loaded.tokenizer.people.pieces(encoded.tokens[start:end].tolist())
        found[owner] += [
            {"text": piece.text, "space": piece.space, "special": piece.special, "lean": lean}
            for piece, lean in zip(pieces, leans[start:end].tolist(), strict=True)
        ]
    return found


def _size(given: Sequence[Any]) -> int:
    """Tokens, as far as can be told before they are read: what may share a pass goes by it."""
    return characters(given) // 3 + 4 * len(given)


def characters(value: Any) -> int:
    """Of a text, a list of words, or a row with fields."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + characters(one) for key, one in value.items())
    return sum(map(characters, value)) if isinstance(value, list) else 1


# -- texts ------------------------------------------------------------------------------------------------------------------------------


def fill(served: Served, asked: Any, limits: Limits) -> Work:
    """By a model with a decoder text after text: what is written at a mask depends on the masks before it."""
    loaded = served.loaded
    reading = filling.check_fills(loaded)
    filling.check_top(loaded, asked.top)
    each = _written if loaded.recipe.model.decodes else _masked

    def together(parts: list[Part]) -> list[Said | Exception]:
        return each(served, parts, reading, limits)

    return Work(key=(served, "fill"), size=_size(asked.texts), part=Part(asked.texts, asked.top), together=together)


def _masked(served: Served, parts: list[Part], reading: Any, limits: Limits) -> list[Said | Exception]:
    loaded, told, read = served.loaded, [], []
    for part in parts:
        try:
            told.append(_encoded_masks(served, part, reading, limits))
            read += told[-1][0]
        except (InputError, Refused) as error:
            told.append(error)
    if not read:
        return told
    p = filling.shares(loaded, joined(read))
    own = iter(_ends([len(one.places) for one in read]))
    for number, (part, found) in enumerate(zip(parts, told)):
        if not isinstance(found, Exception):
            encoded, tokens, notes = found
            each = zip(part.given, encoded, strict=True)
            rows_ = [filling.filled(loaded, text, one, p[slice(*next(own))], part.top) for text, one in each]
            told[number] = Said(rows_, tokens, tuple(notes))
    return told


def _encoded_masks(served: Served, part: Part, reading: Any, limits: Limits) -> tuple[list[Encoded], int, Notes]:
    notes, found = Notes(), []
    for i, text in enumerate(part.given):
        try:
            found.append(filling.encoded_masks(served.loaded, text, reading, f"texts[{i}]", notes))
        except InputError as error:
            raise InputError(f"texts[{i}]: {error}") from None
    tokens, masks = (sum(len(getattr(one, name)) for one in found) for name in ("tokens", "places"))
    if masks > limits.masks:
        raise Refused(422, f"{amount(masks, 'mask')}; at most {limits.masks} a request", "texts")
    if tokens > limits.tokens:
        raise _large(tokens, limits, "texts")
    return found, tokens, notes


def _written(served: Served, parts: list[Part], reading: Any, limits: Limits) -> list[Said | Exception]:
    loaded, told = served.loaded, []
    for part in parts:
        try:
            notes, tokens = Notes(), sum(len(ids) for ids, _ in loaded.tokenizer.encode(part.given, specials=True))
            if tokens > limits.tokens:
                raise _large(tokens, limits, "texts")
            found = [filling.written(loaded, text, part.top, "the text", notes) for text in part.given]
            told.append(Said(found, tokens, tuple(notes)))
        except (InputError, Refused) as error:
            told.append(error)
    return told


def embed(served: Served, asked: Any, limits: Limits) -> Work:
    """Vectors as an array (texts, width)."""
    embedding.check_pool(asked.pool)
    wanted = embedding.asking(
        served.loaded, pool=asked.pool, normalise=asked.normalise, layer=asked.layer, dim=asked.dim, prompt=asked.prompt
    )
    return _vectors(served, wanted, asked.texts, asked.field, limits)


def _vectors(served: Served, wanted: embedding.Asked, texts: list[str], field: str, limits: Limits) -> Work:
    where = f"{field}[{{}}]".format

    def encode(all_: list[str], say: Any) -> tuple[Any, Encoded]:
        return None, embedding.encoded_texts(served.loaded, wanted, all_, None, field, where, say)

    def together(parts: list[Part]) -> list[Said | Exception]:
        vectors = lambda _, encoded: embedding.vectors_of(served.loaded, wanted, encoded)
        return _together(parts, encode, vectors, served, limits, field)

    return Work(key=(served, wanted, field), size=_size(texts), part=Part(texts), together=together)


def generate(served: Served, asked: Any, limits: Limits) -> Work:
    """A text that is drawn depends on its seed and its number in the request, and so shares no pass."""
    from bertsmith.downstream.generate import BATCH
    from bertsmith.downstream.search import How
    from bertsmith.downstream.writers import Writers

    names = ("limit", "beam", "sample", "temperature", "top_k", "top_p", "no_repeat", "seed")
    how = How(**{name: getattr(asked, name) for name in names})
    writers = Writers(served.loaded, how, on_long="error")
    where = "texts[{}]".format

    def together(parts: list[Part]) -> list[Said | Exception]:
        read = writers.read([text for part in parts for text in part.given])
        told: list[Any] = []
        for a, b in _ends([*map(len, parts)]):
            try:
                for i, ids in enumerate(read[a:b]):
                    writers.check(ids, where(i))
                tokens = sum(map(len, read[a:b]))
                told.append(tokens if tokens <= limits.tokens else _large(tokens, limits, "texts"))
            except InputError as error:
                told.append(error)
        good = [isinstance(one, int) for one in told]
        ends = _ends([*map(len, parts)])
        said = iter(
            writers.write([ids for (a, b), yes in zip(ends, good) if yes for ids in read[a:b]], where, BATCH, silent)
        )
        return [
            Said([next(said) for _ in part.given], one, ()) if yes else one for part, one, yes in zip(parts, told, good)
        ]

    key = object() if asked.sample else (served, how)
    size = _size(asked.texts) + asked.limit * len(asked.texts)
    return Work(key=key, size=size, part=Part(asked.texts), together=together)


# -- looking ----------------------------------------------------------------------------------------------------------------------------


def alone(size: int, answer: Callable[[], tuple[Any, int]]) -> Work:
    """What shares no pass; `answer()`: what is said, and the tokens that were read."""
    return Work(key=object(), size=size, part=None, together=lambda parts: [Said(*answer(), ()) for _ in parts])


def attention(served: Served, asked: Any, limits: Limits) -> Work:
    """Of one layer, or of one head of it."""
    from bertsmith.downstream.attention import looked, read

    def answer() -> tuple[dict[str, Any], int]:
        encoded = read(served.loaded, asked.text, asked.text2)
        if len(encoded.tokens) > limits.attend:
            many = amount(len(encoded.tokens), "token")
            raise Refused(422, f"{many}; the attention of at most {limits.attend} is told", "text")
        found = looked(served.loaded, encoded, 0)
        layers = found["layers"]
        if asked.layer >= len(layers):
            raise Refused(422, f"{asked.layer}: there are {len(layers)}, counted from 0", "layer")
        weights = layers[asked.layer]["weights"]
        if asked.head is not None and asked.head >= len(weights):
            raise Refused(422, f"{asked.head}: there are {len(weights)}, counted from 0", "head")
        chosen = weights if asked.head is None else weights[asked.head : asked.head + 1]
        told = {"tokens": found["tokens"], "layers": [one["name"] for one in layers], "heads": len(weights)}
        rounded = [[[round(w, 4) for w in row] for row in head] for head in chosen.tolist()]
        return told | {"weights": rounded}, len(encoded.tokens)

    return alone(_size([asked.text, asked.text2 or ""]), answer)


def similar(served: Served, asked: Any, limits: Limits) -> Work:
    """Neighbours of a word among the model's words, or of a text among texts that are given."""
    from bertsmith.downstream import similar as looking

    if not asked.text.strip():
        raise Refused(422, "is empty; a word is wanted, or a text", "text")
    if asked.among is None:
        looking.check_words(served.loaded)
        return alone(1, lambda: (looking.near(served.words, asked.text, asked.top), 0))
    texts = [one for one in asked.among if one.strip()]
    if not texts:
        raise Refused(422, "no text in it", "among")
    made = _vectors(served, embedding.asking(served.loaded), [asked.text, *texts], "among", limits)

    def together(parts: list[Part]) -> list[Said | Exception]:
        return [_nearest(part, said) for part, said in zip(parts, made.together(parts))]

    def _nearest(part: Part, said: Any) -> Any:
        if not isinstance(said, Said):
            return said
        try:
            found = looking.among_vectors(served.loaded, part.given[0], part.given[1:], said.found, part.top)
        except InputError as error:
            return error
        return Said(found, said.tokens, said.notes)

    return Work(key=(made.key, "near"), size=made.size, part=Part([asked.text, *texts], asked.top), together=together)
