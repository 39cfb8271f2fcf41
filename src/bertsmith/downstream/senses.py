"""One word, the vectors of its uses: how alike they are, and a picture of them (senses_page.py).  k uses, d width."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.downstream import senses_page
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.blanks import located
from bertsmith.tasks.given import source
from bertsmith.tasks.readers import parse_columns, read, say_notes
from bertsmith.tasks.sequences import Builder, Encoded
from bertsmith.text.segment import UNSPACED

Array = np.ndarray
MOST = 400  # uses
ROUNDS = 50
SAME = 1 - 1e-10  # a cosine from which on two vectors are one, but for rounding (an angle of 1e-5)

Use = tuple[int, int, int]  # text, first character, one past the last


def senses(
    model: str | Path | Loaded,
    word: str,
    *,
    input: Any = None,
    data: Any = None,
    out: str | Path | None = None,
    layer: int | None = None,
    groups: int = 2,
    seed: int = 0,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = "utf-8",
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """`{word, layer, cosine: {mean, within, between}, nearest, explained, uses: [{text, start, end, sense, x, y}]}`.

    A use is the mean of the states of the word's tokens in one text, at `layer` (0 is the embedding, None the last).  `input`: a file or rows of
    texts (tasks/given.py), whose column `label` is each text's sense where there is one; `data`: a store, whose training sentences are looked
    through.  Without labels the uses are parted into so many `groups` by their cosines (k-means from `seed`).  x and y: the first two principal
    components, which explain such shares of the variance.  `nearest`: how often the nearest other use has the same label.  `out`: a page.
    The first MOST uses are taken.  InputError where there are fewer than two.
    """
    if (input is None) == (data is None):
        raise InputError(
            f"senses: give {option('input', like='FILE')}, texts with the word, or {option('data', like='STORE')}"
        )
    if not word.strip():
        raise InputError("word: is empty; one that stands in the texts is wanted")
    if groups < 1:
        raise InputError(f"{option('groups', groups)}: at least 1")
    if out is not None:
        senses_page.check_page(Path(out))
    if not isinstance(model, Loaded):
        check_model(model)
    texts, labels, name = (
        _of_file(input, columns, header, encoding, say) if data is None else _of_store(data, word.strip())
    )
    loaded = opened(model, members=members, say=say, base=base)
    if layer is not None and not 0 <= layer <= loaded.recipe.model.layers:
        raise InputError(
            f"{option('layer', layer)}: this model has layers 0 (the embedding) to {loaded.recipe.model.layers}"
        )
    found = uses_of(texts, word.strip())
    vectors, kept = vectors_of(loaded, texts, found[:MOST], layer)
    if len(kept) < 2:
        raise InputError(f"{name}: {printable(word, 60)!r} stands {_times(len(kept))} in it; two uses are compared")
    if left := len(found) - len(kept):
        beyond = f"{amount(left, 'use')} beyond the first {MOST} or what the model reads"
        say(f"{name}: {beyond} {'is' if left == 1 else 'are'} left out")
    own = None if labels is None else [labels[text] for text, *_ in kept]
    result = {"word": word.strip(), "layer": loaded.recipe.model.layers if layer is None else layer}
    result |= _looked_at(vectors, own, groups, seed)
    places, parts = result.pop("places"), result.pop("parts")
    result["uses"] = [
        {"text": texts[text], "start": start, "end": end, "sense": sense, "x": x, "y": y}
        for (text, start, end), sense, (x, y) in zip(kept, parts, places.tolist(), strict=True)
    ]
    if out is not None:
        files.write(Path(out), senses_page.page(printable(loaded.run.name), result, own is not None).encode())
        say(f"{printable(out)}: {amount(len(kept), 'use')} of {printable(word, 60)!r}")
    return result


def _times(count: int) -> str:
    return "nowhere" if not count else "once"


def _of_file(
    input: Any, columns: Any, header: bool, encoding: str, say: Callable[[str], None]
) -> tuple[list[str], list[str] | None, str]:
    given = source(input, "input", parse_columns(columns))
    table = read(given, columns=getattr(given, "columns", None) or columns, header=header, encoding=encoding)
    say_notes(table, say)
    labels = table.rows("label")
    return list(table.columns["text"]), None if labels is None else [str(label) for label in labels], printable(given)


def _of_store(data: Any, word: str) -> tuple[list[str], None, str]:
    """Training sentences in which the ids of the word stand as the store's tokenizer spells it, the first ones."""
    from bertsmith.training.run import open_store

    store = open_store(data, lambda line: None)
    split, found = store.train, set()
    edges, size = np.asarray(split.sentences), 1 << 22
    spelled = [np.array(ids, np.int32) for ids in store.tokenizer.spelled(word)]
    for begin in range(0, split.count, size):
        tokens = split.gather(slice(begin, begin + size + 64))
        for ids in spelled:
            at = np.flatnonzero(tokens[: len(tokens) - len(ids) + 1] == ids[0])
            at = at[[np.array_equal(tokens[i : i + len(ids)], ids) for i in at.tolist()]]
            found |= set((np.searchsorted(edges, at + begin, "right") - 1).tolist())
        if len(found) >= MOST:
            break
    chosen = sorted(found)[:MOST]
    texts = [store.tokenizer.decode(split.gather(slice(edges[i], edges[i + 1]))) for i in chosen]
    return texts, None, printable(store.path)


def uses_of(texts: list[str], word: str) -> list[Use]:
    """Where the word stands as one, whatever its case; of a script without blanks anywhere."""
    spaced = not any(first <= ord(letter) <= last for letter in word for first, last in UNSPACED)
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)" if spaced else re.escape(word), re.IGNORECASE)
    return [(number, *match.span()) for number, text in enumerate(texts) for match in pattern.finditer(text)]


def vectors_of(loaded: Loaded, texts: list[str], uses: list[Use], layer: int | None = None) -> tuple[Array, list[Use]]:
    """(k, d) float64, the mean of the states of each use's tokens, and the uses that are read: those that a text is too long for are not."""
    from bertsmith.downstream.vectors import states

    encoded, kept, owner = _encoded(loaded, texts, uses)
    if not kept:
        return np.zeros((0, 0)), kept
    tokens = states(loaded, encoded, layer=layer).astype(np.float64)
    vectors = np.zeros((len(kept), tokens.shape[1]))
    np.add.at(vectors, owner, tokens)
    return vectors / np.bincount(owner, minlength=len(kept))[:, None], kept


def _encoded(loaded: Loaded, texts: list[str], uses: list[Use]) -> tuple[Encoded, list[Use], Array]:
    """(the texts with the tokens of uses as places, the uses that are read, which of them each place is of)."""
    reading = loaded.reading(on_long="truncate", orders="one")
    builder = Builder(vocab=loaded.vocab, reading=reading, pairs=False)
    room, kept, owner = builder.room, [], []
    by_text: dict[int, list[Use]] = {}
    for use in sorted(uses):
        by_text.setdefault(use[0], []).append(use)
    found = located(loaded.tokenizer, [texts[i] for i in by_text])
    for (number, own), (ids, spans) in zip(by_text.items(), found, strict=True):
        places = []
        for use in own:
            inside = np.flatnonzero((spans[:room, 0] < use[2]) & (spans[:room, 1] > use[1]))
            if len(inside) and spans[inside[-1], 1] >= use[2]:
                places.append(inside + reading.lead)
                owner += [len(kept)] * len(inside)
                kept.append(use)
        if places:
            builder.add(number, ids[:room], places=np.concatenate(places))
    return builder.encoded(len(texts)), kept, np.array(owner, np.int64)


def _looked_at(vectors: Array, labels: list[str] | None, groups: int, seed: int) -> dict[str, Any]:
    """Of vectors (k, d): cosines, parts, and places (k, 2) in the plane of the first two principal components."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines, others = unit @ unit.T, ~np.eye(len(unit), dtype=bool)
    parts = [f"group {i + 1}" for i in parted(unit, groups, seed)] if labels is None else labels
    same = np.array(parts)[:, None] == np.array(parts)
    mean = lambda where: float(cosines[where].mean()) if where.any() else None
    centred = vectors - vectors.mean(0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    alike = cosines.min() > SAME
    count = 0 if alike else min(2, len(strength))
    places[:, :count] = left[:, :count] * strength[:count]
    shares = strength**2 / max(float((strength**2).sum()), 1e-30)
    nearest = same[np.arange(len(unit)), np.where(others, cosines, -np.inf).argmax(1)].mean()
    return {
        "cosine": {"mean": mean(others), "within": mean(others & same), "between": mean(~same)},
        "nearest": None if labels is None or alike else float(nearest),
        "explained": shares[:count].tolist(),
        "places": places,
        "parts": parts,
    }


def parted(unit: Array, groups: int, seed: int) -> Array:
    """(k,) which group each unit vector is in: k-means by cosines (spherical), begun as k-means++ begins; groups by their first member.  Vectors
    that are one stay together."""
    draw, centres = np.random.default_rng(seed), unit[:1]
    while len(centres) < groups:
        far = np.clip(1 - (unit @ centres.T).max(1), 0, None)
        if far.max() < 1 - SAME:
            break
        centres = np.concatenate([centres, unit[draw.choice(len(unit), p=far / far.sum())][None]])
    for _ in range(ROUNDS):
        of = (unit @ centres.T).argmax(1)
        sums = np.stack([unit[of == i].sum(0) if (of == i).any() else centres[i] for i in range(len(centres))])
        moved = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        if np.allclose(moved, centres):
            break
        centres = moved
    _, first, of = np.unique(of, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[of]
