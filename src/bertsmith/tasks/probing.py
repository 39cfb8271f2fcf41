"""What a model's states are asked besides a user's labels: control tasks, which say nothing about language, and labels that a text has of itself.

Control tasks (Hewitt & Liang 2019, arXiv:1909.03368): each word has a label, drawn at random, the same wherever it stands.  A probe can
only learn them by heart, so how well it does is what its score would be worth without anything in the states but which word it is.
Lengths and orders of texts are two of the tasks of Conneau et al. 2018 (arXiv:1805.01070, section 2.1: SentLen, BShift).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import amount, option

Array = np.ndarray
BINS = 6  # of lengths
OWN = ("length", "order")  # labels that texts have of themselves


def control(words: Mapping[str, Sequence[str]], truth: Array, classes: int, seed: int = 0) -> dict[str, Array]:
    """{part: (n,) labels}: each word's, drawn as often as the labels of the training rows (`truth`) are."""
    share = np.bincount(truth[truth >= 0], minlength=classes) / max(1, (truth >= 0).sum())
    names = sorted(set().union(*words.values()))
    drawn = np.random.default_rng(seed).choice(classes, len(names), p=share)
    known = dict(zip(names, drawn.tolist(), strict=True))
    return {part: np.array([known[word] for word in some], np.int64) for part, some in words.items()}


def rows_of(what: str, texts: Mapping[str, Sequence[str]], seed: int = 0) -> tuple[dict[str, Any], list[str]]:
    """({part: rows to classify}, what a user should know): texts labelled by how long they are, or whether two of their words changed places.

    Words are parted by blanks.  InputError where the texts have none, or are all alike.
    """
    if what == "length":
        return _lengths(texts), []
    return _orders(texts, seed)


def _lengths(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Into BINS parts, about as many training texts in each."""
    counts = {part: np.array([len(text.split()) for text in some]) for part, some in texts.items()}
    edges = np.unique(np.quantile(counts["train"], np.arange(1, BINS) / BINS).astype(int))
    low, high = int(counts["train"].min()), int(counts["train"].max())
    edges = edges[(edges >= low) & (edges < high)]
    if not len(edges):
        raise InputError(
            f"{option('task', 'length')}: every training text has {amount(low, 'word')}; there is nothing to tell apart"
        )
    names = [f"{a + 1}-{b}" for a, b in zip([low - 1, *edges.tolist()], [*edges.tolist(), high], strict=True)]
    return {
        part: [
            {"text": text, "label": names[i]} for text, i in zip(texts[part], np.searchsorted(edges, n), strict=True)
        ]
        for part, n in counts.items()
    }


def _orders(texts: Mapping[str, Sequence[str]], seed: int) -> tuple[dict[str, Any], list[str]]:
    """In every second text, drawn at random, two neighbours have changed places; texts without two different ones are left out."""
    found, notes = {}, []
    for number, (part, some) in enumerate(texts.items()):
        draw, rows, short = np.random.default_rng([seed, number]), [], 0
        for text in some:
            words = text.split()
            differ = [i for i in range(len(words) - 1) if words[i] != words[i + 1]]
            if not differ:
                short += 1
                continue
            at = differ[int(draw.integers(len(differ)))]
            swapped = bool(draw.random() < 0.5)
            if swapped:
                words[at], words[at + 1] = words[at + 1], words[at]
            rows.append({"text": " ".join(words), "label": "swapped" if swapped else "as written"})
        if len({row["label"] for row in rows}) < 2:
            raise InputError(
                f"{option('task', 'order')}: {part}: {amount(len(rows), 'text')} with two different words; more are wanted"
            )
        if short:
            notes.append(
                f"{part}: {amount(short, 'text')} of {len(some):,} {'has' if short == 1 else 'have'} no two different words and {'is' if short == 1 else 'are'} left out"
            )
        found[part] = rows
    return found, notes
