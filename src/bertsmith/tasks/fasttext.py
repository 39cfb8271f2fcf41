"""fastText's classifier (Joulin et al. 2017, arXiv:1607.01759) as a simple method beside a model: the mean of vectors of a text's words and word pairs, and a softmax over it.

NumPy alone, a text an update, as its code has it: plain descent at a rate that falls to 0 on a line, the gradient at the mean divided by the number of vectors in it.
n texts, c classes, d numbers of a vector.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bertsmith.data.draw import hashed, shuffled, uniform
from bertsmith.nn.grams import fnv
from bertsmith.tasks.answer_scores import unspaced
from bertsmith.tasks.baselines import WORDS, Texts

Array = np.ndarray
WIDTH, BUCKETS = 20, 200_000
STEP = 116_049_371  # what a hash of words is multiplied by before the next is added (dictionary.cc)
WAYS = (
    (0.1, 5),
    (0.5, 10),
    (1.0, 25),
)  # rates and passes that are tried on a fifth of the training rows; the first is the code's own
FEWEST = 50  # rows for that


def classes(train: Texts, truth: Array, dev: Texts, count: int) -> tuple[str, Array]:
    """(what it is, (n, c) logits of the dev texts)."""
    characters = 2 * sum(map(unspaced, train[0])) > len(train[0])
    known: dict[str, int] = {}
    learned = _bags(train, known, characters, new=True)
    rate, passes = _chosen(learned, truth, count, len(known))
    vectors, weights = _learned(learned, truth, count, len(known), rate, passes)
    said = _said(_bags(dev, known, characters, new=False), vectors, weights)
    what = "characters" if characters else "words"
    return f"fastText's classifier over {what} and pairs of them ({passes} passes at {rate:g})", said


def _bags(texts: Texts, known: dict[str, int], characters: bool, new: bool) -> list[Array]:
    """Numbers of each text: those of `known` words, and behind them buckets of pairs; of a pair's second text they are others."""
    words = [
        [_words(text, side, characters) for text in column] for side, column in enumerate(texts) if column is not None
    ]
    for word in (word for column in words for row in column for word in row) if new else ():
        known.setdefault(word, len(known))
    found = []
    for rows in zip(*words, strict=True):
        own = [known[word] for row in rows for word in row if word in known]
        pairs = [(fnv(a.encode()) * STEP + fnv(b.encode())) % BUCKETS for row in rows for a, b in pairwise(row)]
        found.append(np.array([*own, *(len(known) + bucket for bucket in pairs)], np.int64))
    return found


def _words(text: str, side: int, characters: bool) -> list[str]:
    words = [*"".join(text.lower().split())] if characters else re.findall(WORDS, text.lower())
    return [f"{side}:{word}" for word in words]


def _learned(
    bags: Sequence[Array], truth: Array, count: int, words: int, rate: float, passes: int
) -> tuple[Array, Array]:
    """((words + BUCKETS, d) vectors, (c, d) weights)."""
    drawn = uniform(hashed(0, "fasttext", np.arange((words + BUCKETS) * WIDTH)))
    vectors, weights = ((2 * drawn - 1) / WIDTH).reshape(-1, WIDTH), np.zeros((count, WIDTH))
    steps, done = passes * len(bags), 0
    for epoch in range(passes):
        for i in shuffled(0, epoch, len(bags)).tolist():
            lr, bag = rate * (1 - done / steps), bags[i]
            done += 1
            if not len(bag):
                continue
            mean = vectors[bag].mean(0)
            pull = -_softmax(weights @ mean)
            pull[truth[i]] += 1
            back = pull @ weights
            weights += lr * pull[:, None] * mean
            np.add.at(vectors, bag, lr / len(bag) * back)
    return vectors, weights


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def _said(bags: Sequence[Array], vectors: Array, weights: Array) -> Array:
    return np.stack([weights @ (vectors[bag].mean(0) if len(bag) else np.zeros(WIDTH)) for bag in bags])


def _chosen(bags: Sequence[Array], truth: Array, count: int, words: int) -> tuple[float, int]:
    """The way that is best on a fifth of the training rows; the first of equals, and where there are few rows."""
    if len(bags) < FEWEST:
        return WAYS[-1]
    order = shuffled(1, 0, len(bags))
    held, rest = order[: len(bags) // 5], order[len(bags) // 5 :]
    right = []
    for rate, passes in WAYS:
        vectors, weights = _learned([bags[i] for i in rest], truth[rest], count, words, rate, passes)
        right.append((_said([bags[i] for i in held], vectors, weights).argmax(1) == truth[held]).mean())
    return WAYS[int(np.argmax(right))]
