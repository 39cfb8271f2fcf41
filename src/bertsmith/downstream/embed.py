"""Texts to vectors, in input order; neither batching nor the other texts change a vector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from bertsmith import files
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks.readers import read, say_notes
from bertsmith.tasks.sequences import Encoded, OnLong, encode, say_long
from bertsmith.training.precision import Precision

BUDGET = 8192  # tokens in one pass
PRECISIONS = ("exact", "auto", "float32", "bfloat16")
VECTORS, ABOUT = "vectors.npy", "embed.json"
Pool = Literal["mean", "cls"]


def embed(
    model: str | Path | Loaded,
    texts: Sequence[str] | str | Path,
    *,
    pool: Pool | None = None,
    normalise: bool | None = None,
    layer: int | None = None,
    out: str | Path | None = None,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    on_long: OnLong = "truncate",
    budget: int = BUDGET,
    precision: str = "exact",
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """(texts, width) float32.  `texts`: a list, or a file with a column `text` (and `text2` for pairs).

    `pool`: the mean over a text's tokens, specials included, or the state of [CLS]; `normalise`: vectors of length 1.  None is what an
    imported sentence encoder says of itself, else the mean as it is.  `layer`: 0 is the embedding, None the last.
    Over-long texts as `on_long` says (window: the mean of the windows' vectors), counted.  `out`: a folder for vectors.npy.
    `precision`: exact (float32 'highest'), or as in pre-training: auto, float32, bfloat16 (several times faster; the whole model rounded, 2 to 3 digits).
    """
    loaded = opened(model)
    layers, says = loaded.recipe.model.layers, loaded.config.get("vectors") or {}
    pool = says.get("pool", "mean") if pool is None else pool
    normalise = says.get("normalise", False) if normalise is None else normalise
    if pool not in ("mean", "cls"):
        raise InputError(f"--pool {printable(pool)}: unknown; {nearest(str(pool), ('mean', 'cls'))}")
    if layer is not None and not (isinstance(layer, int) and 0 <= layer <= layers):
        raise InputError(f"--layer {printable(layer)}: this model has layers 0 (the embedding) to {layers}")
    if precision not in PRECISIONS:
        raise InputError(f"--precision {printable(precision)}: unknown; {nearest(str(precision), PRECISIONS)}")
    policy = loaded.exact if precision == "exact" else Precision.choose(precision, loaded.device)
    if out is not None and Path(out).exists():
        raise InputError(f"{printable(out)}: --out exists already; choose another place")
    first, second, name, where = texts, None, "texts", "text {}".format
    if isinstance(texts, (str, Path)):
        table = read(texts, columns=columns, header=header)
        say_notes(table, say)
        first, second, name, where = table.columns["text"], table.rows("text2"), printable(texts), table.where
    if not len(first):
        raise InputError("no texts to embed")
    reading = loaded.reading(on_long=on_long)
    encoded = encode(loaded.tokenizer, list(first), second, reading, where)
    say_long(encoded, name, reading, say)
    vectors = encoded.mean_of_windows(pooled(loaded, encoded, pool, layer, budget, policy))
    if normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if out is not None:
        _write(
            Path(out),
            vectors,
            {
                "pool": pool,
                "normalise": normalise,
                "layer": layers if layer is None else layer,
                "precision": precision,
                "model": str(loaded.path),
                **encoded.counts,
            },
        )
    return vectors


@torch.no_grad()
def pooled(
    loaded: Loaded,
    encoded: Encoded,
    pool: Pool,
    layer: int | None = None,
    budget: int = BUDGET,
    precision: Precision | None = None,
) -> np.ndarray:
    """(sequences, width) float32, one for each sequence of `encoded`, each read at [CLS]; dropout off; float32 'highest' unless told otherwise."""
    precision = precision or loaded.exact
    model = loaded.member.model.eval()
    if precision.compute == "bfloat16":
        # Rounded once, and the states between layers with it: a tenth faster than autocast, whose states are float32.
        model = deepcopy(model).bfloat16()
    found = np.empty((len(encoded), loaded.recipe.model.width), np.float32)
    with precision.policy():
        for which in encoded.by_length(budget):
            stream = encoded.batch(which).input.to(loaded.device)
            cls = torch.from_numpy(encoded.read(which)[1]).to(loaded.device)
            if layer is not None:
                hidden = model.states(stream)[layer]
            elif pool == "cls":
                found[which] = model(stream, cls).float().cpu().numpy()
                continue
            else:
                hidden = model(stream)
            states = (
                hidden[cls] if pool == "cls" else torch.stack([part.mean(0) for part in hidden.split(stream.lengths)])
            )
            found[which] = states.float().cpu().numpy()
    return found


@torch.no_grad()
def states(loaded: Loaded, encoded: Encoded, budget: int = BUDGET) -> np.ndarray:
    """(places, width) float32: the hidden states at the places of `encoded`; dropout off; float32 'highest'."""
    model = loaded.member.model.eval()
    found = np.empty((len(encoded.places), loaded.recipe.model.width), np.float32)
    with loaded.exact.policy():
        for which in encoded.by_length(budget):
            rows, at = encoded.read(which)
            stream = encoded.batch(which).input.to(loaded.device)
            read, where = torch.unique(torch.from_numpy(at).to(loaded.device), return_inverse=True)
            found[rows] = model(stream, read)[where].float().cpu().numpy()
    return found


def _write(out: Path, vectors: np.ndarray, about: dict) -> None:
    data = io.BytesIO()
    np.save(data, vectors, allow_pickle=False)
    with files.partial(out) as folder, files.writing(out):
        (folder / VECTORS).write_bytes(data.getvalue())
        (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        files.publish(folder, out)
