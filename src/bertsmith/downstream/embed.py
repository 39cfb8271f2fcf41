"""Texts to vectors, in input order; neither batching nor the other texts change a vector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith import files
from bertsmith.deploy import sentences
from bertsmith.deploy.sentences import POOLS
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.tasks.readers import read, say_notes
from bertsmith.tasks.sequences import Encoded, OnLong, encode, say_long
from bertsmith.text import unknown
from bertsmith.training.precision import Precision

BUDGET = 8192  # tokens in one pass
PRECISIONS = ("exact", "auto", "float32", "bfloat16")
VECTORS, ABOUT = "vectors.npy", "embed.json"


def embed(
    model: str | Path | Loaded,
    texts: Sequence[str] | str | Path,
    *,
    pool: str | None = None,
    normalise: bool | None = None,
    layer: int | None = None,
    out: str | Path | None = None,
    prompt: str | None = None,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    on_long: OnLong = "truncate",
    budget: int = BUDGET,
    precision: str = "exact",
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """(texts, width) float32.  `texts`: a list, or a file with a column `text` (and `text2` for pairs).

    `pool`: mean over a text's tokens, specials included, or cls, max, mean_sqrt_len, weightedmean (by place), lasttoken, or several
    side by side ("cls+mean"); `normalise`: vectors of length 1.  None is what a sentence encoder says of itself (dense layers and small
    letters, too), else the mean as it is.  `prompt`: one that it has by name, or a text, to stand before each.  `layer`: 0 is the embedding, None the last.
    Over-long texts as `on_long` says (window: the mean of the windows' vectors), counted.  `out`: a folder for vectors.npy.
    `precision`: exact (float32 'highest'), or as in pre-training: auto, float32, bfloat16 (several times faster; the whole model rounded, 2 to 3 digits).
    """
    loaded = opened(model, say=say)
    layers, says = loaded.recipe.model.layers, loaded.config.get("vectors") or {}
    pool = says.get("pool", "mean") if pool is None else pool
    normalise = says.get("normalise", False) if normalise is None else normalise
    wrong = next((part for part in str(pool).split("+") if part not in POOLS), None)
    if wrong is not None:
        raise InputError(f"--pool {printable(pool)}: unknown; {nearest(wrong, tuple(POOLS))}")
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
    before = _prompt(says, prompt)
    first, second = _as_read(first, says, before), None if second is None else _as_read(second, says)
    encoded = encode(loaded.tokenizer, first, second, reading, where)
    say_long(encoded, name, reading, say)
    unknown.tell(
        unknown.of_texts(loaded.tokenizer, encoded.tokens, lambda: unknown.strings([first, second or []])), name, say
    )
    skip = _skipped(loaded, before) if says.get("skip_prompt") else 0
    vectors = encoded.mean_of_windows(pooled(loaded, encoded, pool, layer, budget, policy, skip))
    if says.get("dense"):
        own = layer is None and pool == says["pool"]
        vectors = _dense(loaded, says["dense"], vectors, say) if own else vectors
    if normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if out is not None:
        _write(
            Path(out),
            vectors,
            {
                "pool": pool,
                "normalise": normalise,
                **({"prompt": before} if before else {}),
                "layer": layers if layer is None else layer,
                "precision": precision,
                "model": str(loaded.path),
                **encoded.counts,
            },
        )
    return vectors


def _prompt(says: Mapping[str, Any], prompt: str | None) -> str:
    prompts = says.get("prompts") or {}
    if prompt is None:
        return prompts.get(says.get("prompt"), "")
    if not isinstance(prompt, str):
        raise InputError(f"--prompt {printable(prompt)}: expected a text, or one of {', '.join(prompts) or 'no names'}")
    return prompts.get(prompt, prompt)


def _as_read(texts: Sequence[str], says: Mapping[str, Any], before: str = "") -> list[str]:
    """The texts as sentence-transformers reads them, where the model is one of its: no white space round them, small letters if it asks."""
    change = str.lower if says.get("lowercase") else str
    made = lambda text: text if text is None else change((before + text).strip() if says else before + text)
    return [made(text) for text in texts]


def _skipped(loaded: Loaded, before: str) -> int:
    """Tokens at the start that are read and not pooled."""
    return loaded.reading().lead + len(loaded.tokenizer.encode([before.strip()])[0][0]) if before else 0


@torch.no_grad()
def _dense(loaded: Loaded, dense: list, vectors: np.ndarray, say: Callable[[str], None]) -> np.ndarray:
    """Through the dense layers of a folder; an import has left them there, which is said."""
    if loaded.path != loaded.run:
        say(
            f"warning: {printable(loaded.run)}: the dense layers of the folder it was imported from are left out; embed that folder for them"
        )
        return vectors
    x = torch.from_numpy(vectors)
    with Precision.exact(x.device).policy():
        for layer in sentences.layers(loaded.path, dense, vectors.shape[1]):
            x = layer(x)
    return x.numpy()


@torch.no_grad()
def pooled(
    loaded: Loaded,
    encoded: Encoded,
    pool: str,
    layer: int | None = None,
    budget: int = BUDGET,
    precision: Precision | None = None,
    skip: int = 0,
) -> np.ndarray:
    """(sequences, width) float32, one for each sequence of `encoded`, each read at [CLS]; dropout off; float32 'highest' unless told otherwise.

    Several pools ("cls+mean") stand side by side.  `skip`: tokens at the start that only [CLS] is taken from.
    """
    precision = precision or loaded.exact
    model = loaded.member.model.eval()
    if precision.compute == "bfloat16":
        # Rounded once, and the states between layers with it: a tenth faster than autocast, whose states are float32.
        model = deepcopy(model).bfloat16()
    pools = pool.split("+")
    found = np.empty((len(encoded), len(pools) * loaded.recipe.model.width), np.float32)
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
            parts = [part[min(skip, len(part) - 1) :] for part in hidden.split(stream.lengths)]
            made = [hidden[cls] if p == "cls" else torch.stack([sentences.pooled(x, p) for x in parts]) for p in pools]
            found[which] = torch.cat(made, 1).float().cpu().numpy()
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
