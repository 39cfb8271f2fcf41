"""How probable a pre-trained member finds held-out text, in bits per byte: the one measure by which members of different losses are compared.

What a language model says from the left is a likelihood; of members that see both sides it is a pseudo-likelihood, each token hidden with the rest of
its word.  The two are not compared with each other (docs/study.md), and a member that says neither has none.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.downstream.likelihood import Likelihood, Text
from bertsmith.downstream.model import Loaded, load
from bertsmith.downstream.predict import bytes_of_a_token
from bertsmith.downstream.score import way_of
from bertsmith.errors import InputError
from bertsmith.tasks import metrics

FEWEST = 32  # held-out tokens below which a likelihood says nothing
LONGEST = 256  # tokens that are read of a document
SCORE = "bits_per_byte"
SEED = 0x4E1D  # of the resamples of documents


def likelihood(
    run: Path, store: Any, tokens: int, members: tuple[str, ...], threads: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """{method, tokens, documents, bits_per_byte} of about so many held-out tokens, and the score of resamples of the documents; {none: why} of
    a member that says no likelihood of a text, or a store without held-out text."""
    from bertsmith.training.precision import threads_set

    if getattr(store.train, "holds", "tokens") != "tokens" or store.held_out.count < FEWEST:
        return {"none": "the store holds hardly any text out"}, {}
    loaded = load(run, members=members)
    try:
        method = _method(loaded)
    except InputError as error:
        return {"none": str(error)}, {}
    asks = Likelihood(loaded, method=method, on_long="window", stride=None, join=" ")
    texts = documents(store, tokens, asks.given)
    with threads_set(threads):
        sums = np.array(
            [values[text.asked :].sum() for text, values in zip(texts, asks.values(texts, str), strict=True)]
        )
    counts = np.array([len(text.tokens) - text.asked for text in texts])
    size = math.log(2) * bytes_of_a_token(store)
    figures = lambda weights: {SCORE: -(weights @ sums) / (size * np.maximum(weights @ counts, 1))}
    found = metrics.resampled(figures, len(texts), seed=SEED)
    told = {"method": method, "tokens": int(counts.sum()), "documents": len(texts), SCORE: float(found[SCORE][0])}
    return told, found


def _method(loaded: Loaded) -> str:
    """InputError for a member that says no probability of a text by itself."""
    if hasattr(loaded.recipe.objective, "generator"):
        raise InputError("its tokens are said by a generator beside it")
    method = way_of(loaded, None)
    if method == "decoder":
        raise InputError("it writes about a text that it reads, and says nothing of one alone")
    return method


def documents(store: Any, tokens: int, given: int) -> list[Text]:
    """Beginnings of held-out documents, spread over all of them, of `tokens` tokens together, one document at least.  `given`: tokens at the
    start of each that are not asked for."""
    split = store.held_out
    edges = np.asarray(split.sentences)[np.asarray(split.documents)]
    sizes = np.minimum(np.diff(edges), LONGEST)
    usable = np.flatnonzero(sizes > 1)
    wanted = min(len(usable), max(1, round(tokens / sizes[usable].mean())))
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, wanted).round().astype(int))]
    found = []
    for at, size in zip(edges[chosen].tolist(), sizes[chosen].tolist(), strict=True):
        part = slice(at, at + size)
        starts = split.starts(part)
        starts[0] = True
        found.append(Text(split.gather(part), starts, min(given, size - 1), ""))
    return found
