"""Several stores with one tokenizer, read as one: their documents one store after another, each store a part as a language is (multilingual.py).

So each is laid out by itself and read by its share, by its size to a power (`training.smoothing`), or once an epoch; its held-out text has a loss
of its own, `token.NAME`; what is read is a function of (seed, epoch), whatever processes share it.  A store of several languages has each of them
as a part, `NAME-LANGUAGE`.  In memory stand, beside what one store needs, the offsets of all sentences: 8 bytes for each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text.multilingual import Stretch, parts_of
from bertsmith.text.multilingual import shares as shares_of
from bertsmith.text.store import Split, Store

Weights = Mapping[str, float] | Sequence[str | os.PathLike]


def asked(data: Sequence[str]) -> Any:
    """What was typed after `--data`, once or several times: a folder, a list of them, or {folder: weight}.  InputError where some have none."""
    found = [_weighed(text) for text in data]
    if len(data) == 1 and found[0][1] is None:
        return data[0]
    bare = [name for name, weight in found if weight is None]
    if bare and len(bare) < len(found):
        raise InputError(f"{option('data', bare[0])}: has no weight, others have; {option('data', f'{bare[0]}=0.5')}")
    _check_named_once([name for name, _ in found])
    return [name for name, _ in found] if bare else dict(found)


def _weighed(text: str) -> tuple[str, float | None]:
    """ "store=0.7" is ("store", 0.7), unless there is a folder of that name."""
    name, equals, number = text.rpartition("=")
    if not equals or os.path.lexists(text):
        return text, None
    try:
        return name, float(number)
    except ValueError:
        return text, None


def blended(stores: Sequence[Store], weights: Sequence[float] | None = None) -> Store:
    """They as one store.  InputError naming the first that differs in what all must have."""
    for store in stores:
        _check(store, stores[0])
    if weights is not None:
        for store, weight in zip(stores, weights, strict=True):
            good = isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 < weight < float("inf")
            if not good:
                raise InputError(f"{option('data')}: {printable(store.path)}={weight!r}: a weight is a number above 0")
    names = _names([store.path for store in stores])
    train, held = (_joined([getattr(store, side) for store in stores], names) for side in ("train", "held_out"))
    whole = None if weights is None else float(sum(weights))
    said = [
        {"name": name, "digest": store.digest} | ({} if whole is None else {"weight": float(weight) / whole})
        for name, store, weight in zip(names, stores, weights or [0.0] * len(stores), strict=True)
    ]
    unigrams = np.sum([store.unigrams for store in stores], axis=0)
    return Store(
        path=stores[0].path,
        manifest=_manifest([store.manifest for store in stores]),
        digest=hashlib.sha256(json.dumps(said).encode()).hexdigest(),
        vocab=stores[0].vocab.counted(unigrams),
        unigrams=unigrams,
        train=train,
        held_out=held,
        blend=tuple(of | {"path": str(store.path)} for of, store in zip(said, stores, strict=True)),
        checking=tuple(checking for store in stores for checking in store.checking),
        shares=() if whole is None else _shares([store.train for store in stores], [of["weight"] for of in said]),
    )


def _check(store: Store, first: Store) -> None:
    where = printable(store.path)
    if not isinstance(store, Store):
        raise InputError(f"{where}: holds sound; stores of text alone can be blended")
    if store.vectors is not None:
        raise InputError(f"{where}: is linked to entities; such a store is read by itself")
    ours, theirs = (one.manifest["tokenizer"] for one in (store, first))
    for field in ("size", "digest"):
        if ours.get(field) != theirs.get(field):
            what = tuple(printable(of.get(field), 20) for of in (ours, theirs))
            raise InputError(
                f"{where}: tokenizer: {field}: {what[0]}, that of {printable(first.path)} has {what[1]}; prepare its text with {option('tokenizer', first.path)}"
            )
    if store is not first and store.digest == first.digest:
        raise InputError(f"{where}: the same store as {printable(first.path)}; name it once")


def _check_named_once(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{option('data', name)}: named twice; name it once")


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many before it as tell them apart; letters, digits, _ and - alone."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [re.sub(r"[^\w-]+", "-", "-".join(of[-depth:])).strip("-") or "store" for of in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names, 1)]


def _joined(splits: Sequence[Split], names: Sequence[str]) -> Split:
    levels = tuple(level for level in splits[0].levels if all(level in split.levels for split in splits))
    capital = all(split.capital for split in splits)
    stretches, documents, sentences, tokens = [], [], [], []
    for split, name in zip(splits, names, strict=True):
        before = sum(len(part) - 1 for part in documents)
        own = split.languages or (Stretch("", 0, len(split.documents) - 1),)
        stretches += [Stretch(f"{name}-{of.language}".rstrip("-"), before + of.first, before + of.last) for of in own]
        documents.append(np.asarray(split.documents))
        sentences.append(np.asarray(split.sentences))
        tokens.append(split.count)
    return Split(
        shards=tuple(shard for split in splits for shard in split.shards),
        packed=tuple(part for split in splits for part in split.packed),
        sentences=_offsets(sentences, tokens),
        documents=_offsets(documents, [len(part) - 1 for part in sentences]),
        shard=splits[0].shard,
        noted=tuple(part for split in splits for part in split.noted) if levels else (),
        levels=levels,
        capital=tuple(part for split in splits for part in split.capital) if capital else (),
        spelled=splits[0].spelled,
        languages=tuple(stretches),
    )


def _offsets(parts: Sequence[np.ndarray], totals: Sequence[int]) -> np.ndarray:
    """Offsets of things that stand one after another, where those of part i are `totals[i]` in all."""
    out = np.empty(sum(len(part) - 1 for part in parts) + 1, np.int64)
    at = base = 0
    for part, total in zip(parts, totals, strict=True):
        out[at : at + len(part)] = part
        out[at : at + len(part)] += base
        at, base = at + len(part) - 1, base + total
    return out


def _shares(splits: Sequence[Split], weights: Sequence[float]) -> tuple[float, ...]:
    """Of each part that has text, in their order; languages of one store by their size.  Parallel lines have none beside text."""
    found: list[float] = []
    for split, weight in zip(splits, weights, strict=True):
        counts = [part.count for part in parts_of(split)] or [part.count for part in split.parts]
        counts = counts if split.languages else [split.count]
        found += [weight * count / sum(counts) for count in counts if count]
    return tuple(found)


def _manifest(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is asked of a manifest, of all of them: sums, and the largest share of [UNK]."""
    splits = {
        name: {key: sum(of["splits"][name][key] for of in each) for key in counts}
        for name, counts in each[0]["splits"].items()
    }
    accounts = [of.get("account", {}) for of in each]
    unknown = max((of.get("unknown", {"share": 0}) for of in accounts), key=lambda of: of["share"])
    used = sum(of.get("bytes", {}).get("used", 0) for of in accounts)
    return {**each[0], "splits": splits, "account": {"unknown": unknown, "bytes": {"used": used}}}


def said(store: Store, smoothing: float) -> str:
    """A line on what is read of each."""
    parts = parts_of(store.train) or store.train.parts
    shares = store.shares or shares_of(np.array([part.count for part in parts]), smoothing)
    told = (
        f"{part.language} {amount(part.count, 'token')}, {share:.1%}" for part, share in zip(parts, shares, strict=True)
    )
    return f"blend: {'; '.join(told)} of what is read"
