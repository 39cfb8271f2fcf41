"""Scores and their 95 % bootstrap intervals, in NumPy.  n examples, b resamples, c classes.

A resample of n examples is a draw of how often each one is taken, so every statistic here is a function of weights: for classes of
the confusion matrix (b, c, c), for numbers of the weights (b, n).  Intervals are percentiles, seeded, the same whenever they are computed.
`Figures` are the scores of one system as such a function: what two systems are compared by (paired.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 2000
CELLS = 4_000_000  # weights held at once
Score = dict[str, float]  # value, low, high
Figures = Callable[[np.ndarray], dict[str, np.ndarray]]  # weights of the examples (b, n) -> {score: (b,)}


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
        "accuracy": interval(accuracy(every)),
        "f1": interval(f1(every)),
        "matthews": interval(matthews(every)),
    }


def class_figures(truth: Sequence[int], predicted: Sequence[int], classes: int) -> Figures:
    """The scores of `classification`, from how often each class is hit, true and said: no confusion matrix for each resample."""
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    true, said = (np.eye(classes)[ids] for ids in (truth, predicted))  # (n, c)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        sums = weights @ (true * said), weights @ true, weights @ said
        return {"accuracy": sums[0].sum(1) / weights.sum(1), "f1": _f1(*sums), "matthews": _matthews(*sums)}

    return figures


def label_figures(truth: np.ndarray, predicted: np.ndarray) -> Figures:
    """Of n texts that may have any of c labels, (n, c) each: micro F1 over all labels, macro F1 (the mean over labels that are true or
    said somewhere), and the share of texts all of whose labels are right."""
    hits, true, said = ((x).astype(np.float64) for x in (truth & predicted, truth, predicted))
    right = (truth == predicted).all(1).astype(np.float64)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        hit, asked = weights @ hits, weights @ (true + said)  # (b, c)
        each = _share(2 * hit, asked)
        return {
            "micro_f1": _share(2 * hit.sum(1), asked.sum(1)),
            "macro_f1": each.sum(1) / np.maximum((asked > 0).sum(1), 1),
            "subset_accuracy": (weights @ right) / weights.sum(1),
        }

    return figures


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """(b, c, c), truth by prediction -> (b,)."""
    return np.trace(confusion, axis1=1, axis2=2) / confusion.sum((1, 2))


def f1(confusion: np.ndarray) -> np.ndarray:
    """Of the last of two classes; the mean over classes that are true or predicted somewhere where there are more.  No hit: 0."""
    return _f1(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2), confusion.sum(1))


def _f1(hits: np.ndarray, true: np.ndarray, said: np.ndarray) -> np.ndarray:
    asked = true + said  # 2 tp + fp + fn
    each = np.divide(2 * hits, asked, out=np.zeros_like(asked), where=asked > 0)
    if each.shape[1] == 2:
        return each[:, 1]
    return each.sum(1) / np.maximum((asked > 0).sum(1), 1)


def matthews(confusion: np.ndarray) -> np.ndarray:
    """Gorodkin's correlation for any number of classes (Gorodkin 2004, eq. 8); 0 where truth or prediction is constant."""
    return _matthews(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2), confusion.sum(1))


def _matthews(hits: np.ndarray, true: np.ndarray, said: np.ndarray) -> np.ndarray:
    n = true.sum(1)
    covariance = n * hits.sum(1) - (true * said).sum(1)
    spread = (n**2 - (true**2).sum(1)) * (n**2 - (said**2).sum(1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(n), where=spread > 0)


def regression(
    truth: Sequence[float], predicted: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """pearson and spearman, each with its interval; 0 where one side is constant."""
    return scored(number_figures(truth, predicted), len(truth), seed, resamples)


def number_figures(truth: Sequence[float], predicted: Sequence[float]) -> Figures:
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        ranks = correlation(_ranks(truth, weights), _ranks(predicted, weights), weights)
        return {"pearson": correlation(truth[None], predicted[None], weights), "spearman": ranks}

    return figures


def rank_figures(truth: np.ndarray, predicted: np.ndarray) -> Figures:
    """Of n classes in an order, (n,) their numbers: quadratic weighted kappa (Cohen 1968: 1 less the mean squared distance, as a share of
    what it would be if both were independent; 0 where both are one class), accuracy, and the mean distance in classes."""
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    apart = truth - predicted

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(1)
        means = [(weights @ x) / total for x in (truth, predicted)]
        spread = sum((weights @ x**2) / total - mean**2 for x, mean in zip((truth, predicted), means, strict=True))
        by_chance = spread + (means[0] - means[1]) ** 2
        missed = (weights @ apart**2) / total
        live = by_chance > 1e-12
        return {
            "quadratic_kappa": np.where(live, 1 - missed / np.where(live, by_chance, 1), 0.0),
            "accuracy": (weights @ (apart == 0)) / total,
            "mae": (weights @ np.abs(apart)) / total,
        }

    return figures


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
    return interval(np.concatenate([times[None], draws]) @ values / len(a))


def mean(
    values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES, weights: Sequence[float] | None = None
) -> Score:
    """The mean of `values` (the weighted one where each stands for many), resampled over them."""
    values = np.asarray(values, np.float64)
    each = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)

    return scored(lambda taken: {"mean": mean_of(taken, values, each)}, len(values), seed, resamples)["mean"]


def mean_of(taken: np.ndarray, values: np.ndarray, each: np.ndarray) -> np.ndarray:
    """(b, n), (n,), (n,) -> (b,): of `values`, where each stands for so many."""
    each = np.asarray(each, np.float64)
    return (taken @ (values * each)) / np.maximum(taken @ each, 1e-300)


def tagging(
    right: np.ndarray, words: np.ndarray, spans: np.ndarray | None, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """Of n sentences with `words` (n,), of which `right` (n,) are right: accuracy; where `spans` (n, 3) count those that are found,
    said and true, also their precision, recall and f1 over all types (conlleval's and seqeval's overall figures), by sentence."""
    return scored(tag_figures(right, words, spans), len(words), seed, resamples)


def tag_figures(right: np.ndarray, words: np.ndarray, spans: np.ndarray | None) -> Figures:
    counts = np.stack([right, words, *(() if spans is None else spans.T)], 1).astype(np.float64)

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        hit, many, *marked = (weights @ counts).T
        found = {"accuracy": _share(hit, many)}
        if marked:
            both, said, true = marked
            found |= {
                "precision": _share(both, said),
                "recall": _share(both, true),
                "f1": _share(2 * both, said + true),
            }
        return found

    return figures


def answers(
    exact: np.ndarray, f1: np.ndarray, answerable: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """Means over the questions (n,); where some have an answer and some have none, also over each kind, as evaluate-v2.0 has it."""
    return scored(answer_figures(exact, f1, answerable), len(exact), seed, resamples)


def answer_figures(exact: np.ndarray, f1: np.ndarray, answerable: np.ndarray) -> Figures:
    every = np.ones(len(exact))
    parts = {"exact": (exact, every), "f1": (f1, every)}
    if answerable.any() and not answerable.all():
        parts |= {"answerable_exact": (exact, answerable), "answerable_f1": (f1, answerable)}
        parts["unanswerable"] = (exact, ~answerable)
    return lambda weights: {name: mean_of(weights, *part) for name, part in parts.items()}


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


def scored(figures: Figures, n: int, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Score]:
    """Every figure of n examples with its interval."""
    return {name: interval(values) for name, values in resampled(figures, n, seed, resamples).items()}


def resampled(
    figures: Figures, n: int, seed: int | Sequence[int] = 0, resamples: int = RESAMPLES
) -> dict[str, np.ndarray]:
    """Every figure of n examples, (1 + b,): of the examples themselves, then of their resamples."""
    generator, rows = np.random.default_rng(seed), [figures(np.ones((1, n)))]
    at_once = max(1, CELLS // n)
    for done in range(0, resamples, at_once):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(at_once, resamples - done))
        rows.append(figures(weights.astype(np.float64)))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def said(score: Score) -> str:
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def interval(values: np.ndarray, sure: float = 0.95) -> Score:
    """Row 0 is the value; the rest are resamples."""
    ends = [50 * (1 - sure), 50 * (1 + sure)]
    low, high = np.percentile(values[1:], ends) if len(values) > 1 else (values[0], values[0])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
