"""Scores and their 95 % bootstrap intervals, in NumPy.  n examples, b resamples, c classes.

A resample of n examples is a draw of how often each one is taken, so every statistic here is a function of weights: for classes of
the confusion matrix (b, c, c), for numbers of the weights (b, n).  Intervals are percentiles, seeded, the same whenever they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 2000
CELLS = 4_000_000  # weights held at once
Score = dict[str, float]  # value, low, high


def classification(
    truth: Sequence[int], predicted: Sequence[int], classes: int, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """accuracy, f1 (two classes: of the last; more: macro over the classes that occur) and matthews, each with its interval."""
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    n = len(truth)
    confusion = np.bincount(truth * classes + predicted, minlength=classes * classes)
    draws = np.random.default_rng(seed).multinomial(n, confusion / n, size=resamples)
    every = np.concatenate([confusion[None], draws]).reshape(-1, classes, classes).astype(np.float64)
    return {
        "accuracy": _interval(accuracy(every)),
        "f1": _interval(f1(every)),
        "matthews": _interval(matthews(every)),
    }


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """(b, c, c), truth by prediction -> (b,)."""
    return np.trace(confusion, axis1=1, axis2=2) / confusion.sum((1, 2))


def f1(confusion: np.ndarray) -> np.ndarray:
    """Of the last of two classes; the mean over classes that are true or predicted somewhere where there are more.  No hit: 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    asked = confusion.sum(1) + confusion.sum(2)  # 2 tp + fp + fn
    each = np.divide(2 * hits, asked, out=np.zeros_like(asked), where=asked > 0)
    if confusion.shape[1] == 2:
        return each[:, 1]
    return each.sum(1) / np.maximum((asked > 0).sum(1), 1)


def matthews(confusion: np.ndarray) -> np.ndarray:
    """Gorodkin's correlation for any number of classes (Gorodkin 2004, eq. 8); 0 where truth or prediction is constant."""
    n = confusion.sum((1, 2))
    true, said = confusion.sum(2), confusion.sum(1)
    covariance = n * np.trace(confusion, axis1=1, axis2=2) - (true * said).sum(1)
    spread = (n**2 - (true**2).sum(1)) * (n**2 - (said**2).sum(1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(n), where=spread > 0)


def regression(
    truth: Sequence[float], predicted: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """pearson and spearman, each with its interval; 0 where one side is constant."""
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)

    def both(weights: np.ndarray) -> np.ndarray:
        ranks = correlation(_ranks(truth, weights), _ranks(predicted, weights), weights)
        return np.stack([correlation(truth[None], predicted[None], weights), ranks], 1)

    scores = _resampled(both, len(truth), seed, resamples)
    return {"pearson": _interval(scores[:, 0]), "spearman": _interval(scores[:, 1])}


def correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlation of (b or 1, n) with (b or 1, n) under (b, n) weights -> (b,)."""
    total = weights.sum(1, keepdims=True)
    dx, dy = x - (weights * x).sum(1, keepdims=True) / total, y - (weights * y).sum(1, keepdims=True) / total
    xx, yy, xy = (weights * dx * dx).sum(1), (weights * dy * dy).sum(1), (weights * dx * dy).sum(1)
    # a constant side leaves rounding noise, not zero: compare with the size of the numbers
    size_x = (weights * x * x).sum(1)
    size_y = (weights * y * y).sum(1)
    live = (xx > 1e-24 * size_x) & (yy > 1e-24 * size_y) & (xx > 0) & (yy > 0)
    return np.clip(np.divide(xy, np.sqrt(xx) * np.sqrt(yy), out=np.zeros(len(weights)), where=live), -1.0, 1.0)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks of the resampled values, ties shared: (b, n), at the place of the original value."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    taken = np.add.reduceat(weights[:, order], first, axis=1)
    middle = np.cumsum(taken, 1) - (taken - 1) / 2
    return middle[:, group]


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """mean(a) - mean(b) over the same examples (correct or not, or any score each), resampled in pairs."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"paired: two lists of the same length are needed, got shapes {a.shape} and {b.shape}")
    values, times = np.unique(a - b, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(a), times / len(a), size=resamples)
    return _interval(np.concatenate([times[None], draws]) @ values / len(a))


def mean(
    values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES, weights: Sequence[float] | None = None
) -> Score:
    """The mean of `values` (the weighted one where each stands for many), resampled over them."""
    values = np.asarray(values, np.float64)
    each = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)

    def ratio(taken: np.ndarray) -> np.ndarray:
        return ((taken @ (values * each)) / np.maximum(taken @ each, 1e-300))[:, None]

    return _interval(_resampled(ratio, len(values), seed, resamples)[:, 0])


def tagging(
    right: np.ndarray, words: np.ndarray, spans: np.ndarray | None, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """Of n sentences with `words` (n,), of which `right` (n,) are right: accuracy; where `spans` (n, 3) count those that are found,
    said and true, also their precision, recall and f1 over all types (conlleval's and seqeval's overall figures), by sentence."""
    counts = np.stack([right, words, *(() if spans is None else spans.T)], 1).astype(np.float64)

    def ratios(weights: np.ndarray) -> np.ndarray:
        hit, many, *marked = (weights @ counts).T
        rows = [hit, many]
        if marked:
            found, said, true = marked
            rows += [found, said, found, true, 2 * found, said + true]
        return np.stack([_share(*rows[i : i + 2]) for i in range(0, len(rows), 2)], 1)

    names = ("accuracy", "precision", "recall", "f1")[: 1 if spans is None else 4]
    drawn = _resampled(ratios, len(counts), seed, resamples)
    return {name: _interval(drawn[:, i]) for i, name in enumerate(names)}


def answers(
    exact: np.ndarray, f1: np.ndarray, answerable: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """Means over the questions (n,); where some have an answer and some have none, also over each kind, as evaluate-v2.0 has it."""
    over = lambda values, among=None: mean(values, seed, resamples, among)
    found = {"exact": over(exact), "f1": over(f1)}
    if answerable.any() and not answerable.all():
        found |= {"answerable_exact": over(exact, answerable), "answerable_f1": over(f1, answerable)}
        found["unanswerable"] = over(exact, ~answerable)
    return found


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """0 of nothing is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def log_softmax(values: np.ndarray) -> np.ndarray:
    """(n, c) -> (n, c) float64, over the last axis."""
    shifted = values.astype(np.float64) - values.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over n, nats: logits (n, c), labels (n,)."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation over seeds."""
    return {
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "seeds": len(values),
    }


def _resampled(statistic: Callable[[np.ndarray], np.ndarray], n: int, seed: int, resamples: int) -> np.ndarray:
    """Row 0: the statistic of the sample itself; then one row for each resample."""
    generator, rows = np.random.default_rng(seed), [statistic(np.ones((1, n)))]
    at_once = max(1, CELLS // n)
    for done in range(0, resamples, at_once):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - done))
        rows.append(statistic(weights.astype(np.float64)))
    return np.concatenate(rows)


def _interval(values: np.ndarray) -> Score:
    """Row 0 is the value; the rest are resamples."""
    low, high = np.percentile(values[1:], [2.5, 97.5]) if len(values) > 1 else (values[0], values[0])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
