"""Whether probabilities are right: AUC, the expected calibration error, a temperature.  n texts, c classes, b resamples.

The temperature divides all logits (Guo et al. 2017, section 4.2): no answer changes, and the probabilities of the dev file's truth are as
likely as one number can make them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bertsmith.tasks import metrics

Array = np.ndarray
BINS = 15  # of the probability of what is said (Guo et al. 2017)
FEWEST = 30  # dev rows that a temperature is chosen on
LEAST, MOST = 0.25, 8.0
STEPS = 40
MANY = 25  # classes, above which there is no AUC: it asks each of them about every text
WORK = 20_000_000  # texts x classes x resamples, about


def temperature(said: Array, truth: Array) -> float:
    """(n, c) logits, (n,) classes -> what divides them so that the truth is likeliest, from LEAST to MOST; 1 on fewer than FEWEST rows.

    The loss is convex in 1 / temperature, so that it has one lowest place, which the golden section finds.
    """
    if len(truth) < FEWEST or not np.isfinite(said).all():
        return 1.0
    loss = lambda inverse: metrics.cross_entropy(said * inverse, truth)
    low, high, share = 1 / MOST, 1 / LEAST, (5**0.5 - 1) / 2
    for _ in range(STEPS):
        a, b = high - share * (high - low), low + share * (high - low)
        low, high = (low, b) if loss(a) <= loss(b) else (a, high)
    return float(2 / (low + high))


def figures(said: Array, truth: Array) -> metrics.Figures:
    """(n, c) logits, (n,) classes: `auc`, of two classes that of the last, of more the mean over the classes that some texts are and some
    are not (one against the rest), left out above MANY; `ece`, the expected calibration error of the likeliest class over BINS bins."""
    p = np.exp(metrics.log_softmax(said))
    classes = [p.shape[1] - 1] if p.shape[1] == 2 else range(p.shape[1])
    some = [k for k in classes if 0 < (truth == k).sum() < len(truth)] if p.shape[1] <= MANY else []
    each = [_auc(p[:, k], truth == k) for k in some]
    sure, right = p.max(1), (p.argmax(1) == truth).astype(np.float64)
    inside = np.eye(BINS)[np.minimum((sure * BINS).astype(int), BINS - 1)]  # (n, bins)
    apart = inside * (sure - right)[:, None]

    def found(weights: Array) -> dict[str, Array]:
        auc = {"auc": np.mean([one(weights) for one in each], 0)} if each else {}
        return auc | {"ece": np.abs(weights @ apart).sum(1) / weights.sum(1)}

    return found


def scores(said: Array, truth: Array, seed: int, resamples: int) -> dict[str, metrics.Score]:
    """With intervals, of fewer resamples where texts and classes are many."""
    fewer = max(200, WORK // max(1, said.size))
    return metrics.scored(figures(said, truth), len(truth), seed, min(resamples, fewer))


def _auc(score: Array, positive: Array) -> Callable[[Array], Array]:
    """The share of pairs of one that is and one that is not in which the first has the higher score, ties a half: of weights (b, n)."""
    order = np.argsort(score, kind="stable")
    first = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    here = positive[order].astype(np.float64)

    def found(weights: Array) -> Array:
        taken = weights[:, order]
        yes = np.add.reduceat(taken * here, first, axis=1)
        no = np.add.reduceat(taken * (1 - here), first, axis=1)
        below = np.cumsum(no, 1) - no / 2
        pairs = yes.sum(1) * no.sum(1)
        return np.divide((yes * below).sum(1), pairs, out=np.full(len(weights), 0.5), where=pairs > 0)

    return found
