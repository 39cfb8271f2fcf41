"""Texts to vectors, in input order; neither batching nor the other texts change a vector."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import files
from bertsmith.deploy.sentences import POOLS
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option, setting
from bertsmith.tasks.given import Given, source
from bertsmith.tasks.readers import parse_columns, read, say_notes
from bertsmith.tasks.reading import OnLong, Reading
from bertsmith.tasks.sequences import Encoded, encode, say_long
from bertsmith.text import unknown

BUDGET = 8192  # tokens in one pass
PRECISIONS = ("exact", "auto", "float32", "bfloat16")
VECTORS, ABOUT = "vectors.npy", "embed.json"


def embed(
    model: str | Path | Loaded,
    texts: Any,
    *,
    pool: str | None = None,
    normalise: bool | None = None,
    layer: int | None = None,
    dim: int | None = None,
    out: str | Path | None = None,
    prompt: str | None = None,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = "utf-8",
    on_long: OnLong = "truncate",
    budget: int = BUDGET,
    precision: str = "exact",
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """(texts, width) float32.  `texts`: a list of texts, of pairs or of dicts, a NumPy array, a pandas Series or DataFrame (tasks/given.py), or
    a file; columns are `text` (and `text2` for pairs).

    `pool`: mean over a text's tokens, specials included, or cls, max, mean_sqrt_len, weightedmean (by place), lasttoken, or several
    side by side ("cls+mean"); `normalise`: vectors of length 1.  None is what a sentence encoder says of itself (dense layers and small
    letters, too), else the mean as it is.  `prompt`: one that it has by name, or a text, to stand before each.  `layer`: 0 is the embedding, None the last.
    `dim`: the first so many numbers of each vector, to length 1 again unless `normalise` is False; sizes that a model was tuned to lose least.
    Over-long texts as `on_long` says (window: the mean of the windows' vectors), counted.  `out`: a folder for vectors.npy.
    `precision`: exact (float32 'highest'), or as in pre-training: auto, float32, bfloat16 (several times faster; the whole model rounded, 2 to 3 digits).
    """
    _check_asked(pool, precision, out)
    if not isinstance(model, Loaded):
        check_model(model)
    texts = source(texts, "texts", parse_columns(columns))
    if isinstance(texts, Given) and not texts.lines:
        raise InputError("no texts to embed")
    table = read(
        texts, columns=texts.columns if isinstance(texts, Given) else columns, header=header, encoding=encoding
    )
    say_notes(table, say)
    first, second, name, where = table.columns["text"], table.rows("text2"), printable(texts), table.where
    loaded = opened(model, members=members, say=say, base=base, sound=True)
    asked = asking(loaded, pool=pool, normalise=normalise, layer=layer, dim=dim, prompt=prompt, on_long=on_long)
    encoded = encoded_texts(loaded, asked, first, second, name, where, say)
    vectors = vectors_of(loaded, asked, encoded, budget, precision, say)
    if out is not None:
        _write(
            Path(out),
            vectors,
            {
                "pool": asked.pool,
                "normalise": asked.normalise,
                **({} if dim is None else {"dim": dim}),
                **({"prompt": asked.before} if asked.before else {}),
                "layer": loaded.recipe.model.layers if layer is None else layer,
                "precision": precision,
                "model": str(loaded.path),
                **encoded.counts,
            },
        )
    return vectors


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What vectors are wanted of a model: what it says of itself stands where nothing else was asked.  `before`: what stands before each text."""

    pool: str
    normalise: bool
    layer: int | None
    dim: int | None
    before: str
    reading: Reading


def asking(
    loaded: Loaded,
    *,
    pool: str | None = None,
    normalise: bool | None = None,
    layer: int | None = None,
    dim: int | None = None,
    prompt: str | None = None,
    on_long: OnLong = "truncate",
) -> Asked:
    """InputError for a layer that the model has not, and for a prompt that is none."""
    layers, says = loaded.recipe.model.layers, loaded.vectors
    pool = says.get("pool", "mean") if pool is None else pool
    normalise = (says.get("normalise", False) or dim is not None) if normalise is None else normalise
    if layer is not None and not (isinstance(layer, int) and 0 <= layer <= layers):
        raise InputError(f"{option('layer', layer)}: this model has layers 0 (the embedding) to {layers}")
    reading = loaded.reading(on_long=on_long, orders="one")
    before = _prompt(says, prompt)
    return Asked(pool=pool, normalise=normalise, layer=layer, dim=dim, before=before, reading=reading)


def encoded_texts(
    loaded: Loaded,
    asked: Asked,
    first: Sequence[str],
    second: Sequence[str] | None,
    name: str,
    where: Callable[[int], str],
    say: Callable[[str], None],
) -> Encoded:
    """The texts, or pairs, as the model reads them; what is cut or unknown is said."""
    says = loaded.vectors
    first, second = _as_read(first, says, asked.before), None if second is None else _as_read(second, says)
    encoded = encode(loaded.tokenizer, first, second, asked.reading, where)
    say_long(encoded, name, asked.reading, say)
    unknown.tell(
        unknown.of_texts(loaded.tokenizer, encoded.tokens, lambda: unknown.strings([first, second or []])), name, say
    )
    return encoded


def vectors_of(
    loaded: Loaded,
    asked: Asked,
    encoded: Encoded,
    budget: int = BUDGET,
    precision: str = "exact",
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """(rows, width) float32 of encoded texts."""
    from bertsmith.downstream.vectors import dense_of, pooled
    from bertsmith.training.precision import Precision

    says, pool, layer = loaded.vectors, asked.pool, asked.layer
    policy = loaded.exact if precision == "exact" else Precision.choose(precision, loaded.device)
    skip = skipped(loaded, asked.before) if says.get("skip_prompt") else 0
    vectors = encoded.mean_of_windows(pooled(loaded, encoded, pool, layer, budget, policy, skip))
    if says.get("dense"):
        own = layer is None and pool == says["pool"]
        vectors = dense_of(loaded, says["dense"], vectors, say) if own else vectors
    if asked.dim is not None:
        vectors = _cut(vectors, asked.dim, says.get("sizes"), say)
    if asked.normalise:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def _check_asked(pool: str | None, precision: str, out: str | Path | None) -> None:
    check_pool(pool)
    if precision not in PRECISIONS:
        raise InputError(f"{option('precision', precision)}: unknown; {nearest(str(precision), PRECISIONS)}")
    if out is not None and Path(out).exists():
        raise InputError(f"{printable(out)}: {option('out')} exists already; choose another place")
    if out is not None:
        files.check_place(out)


def check_pool(pool: str | None) -> None:
    wrong = next((part for part in str(pool).split("+") if pool is not None and part not in POOLS), None)
    if wrong is not None:
        raise InputError(f"{option('pool', pool)}: unknown; {nearest(wrong, tuple(POOLS))}")


def _cut(vectors: np.ndarray, dim: int, sizes: Sequence[int] | None, say: Callable[[str], None]) -> np.ndarray:
    width = vectors.shape[1]
    if not 0 < dim <= width:
        raise InputError(f"{option('dim', dim)}: the vectors have {width} numbers; from 1 to {width} can be taken")
    if dim not in (width, *(sizes or ())):
        learned = f"was tuned to {', '.join(map(str, sizes))}" if sizes else "was not tuned to any size"
        say(
            f"warning: {option('dim', dim)}: the model {learned}; {setting('sizes', value=[dim])} of finetune does that"
        )
    return np.ascontiguousarray(vectors[:, :dim])


def _prompt(says: Mapping[str, Any], prompt: str | None) -> str:
    prompts = says.get("prompts") or {}
    if prompt is None:
        return prompts.get(says.get("prompt"), "")
    if not isinstance(prompt, str):
        raise InputError(f"{option('prompt', prompt)}: expected a text, or one of {', '.join(prompts) or 'no names'}")
    return prompts.get(prompt, prompt)


def _as_read(texts: Sequence[str], says: Mapping[str, Any], before: str = "") -> list[str]:
    """The texts as sentence-transformers reads them, where the model is one of its: no white space round them, small letters if it asks."""
    change = str.lower if says.get("lowercase") else str
    made = lambda text: text if text is None else change((before + text).strip() if says else before + text)
    return [made(text) for text in texts]


def skipped(loaded: Loaded, before: str) -> int:
    """Tokens at the start that are read and not pooled."""
    return loaded.reading().lead + len(loaded.tokenizer.encode([before.strip()])[0][0]) if before else 0


def _write(out: Path, vectors: np.ndarray, about: dict) -> None:
    data = io.BytesIO()
    np.save(data, vectors, allow_pickle=False)
    with files.partial(out) as folder, files.writing(out):
        (folder / VECTORS).write_bytes(data.getvalue())
        (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        files.publish(folder, out)
