"""Scores of written texts against references: BLEU and chrF by sacrebleu, ROUGE by rouge-score.  n texts, b resamples.

BLEU and chrF are functions of sums of counts over the texts, so that a resample is a weighted sum; ROUGE is a mean over texts.
Both packages are loaded where they are used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import option
from bertsmith.tasks.metrics import Figures

ORDERS = 4  # BLEU's n-grams
PACKAGES = {"bleu": "sacrebleu", "chrf": "sacrebleu", "rouge": "rouge_score"}
ROUGE = ("rouge1", "rouge2", "rougeL")


def check_there(metric: str) -> None:
    """InputError where what a metric needs is not installed."""
    package = PACKAGES.get(metric)
    if package is not None and importlib.util.find_spec(package) is None:
        raise InputError(
            f"{option('metric', metric)}: needs {package.replace('_', '-')}: pip install 'bertsmith[eval]'"
        )


def bleu(said: Sequence[str], true: Sequence[str]) -> Figures:
    """Of the corpus, from 0 to 100: sacrebleu's (13a, mixed case, smoothing exp)."""
    from sacrebleu.metrics import BLEU

    counts = np.array(BLEU(force=True)._extract_corpus_statistics([*said], [[*true]]), np.float64)
    return lambda weights: {"bleu": _bleu(weights @ counts)}


def chrf(said: Sequence[str], true: Sequence[str]) -> Figures:
    """Of the corpus, from 0 to 100: sacrebleu's chrF2 of six orders, without white space."""
    from sacrebleu.metrics import CHRF

    counts = np.array(CHRF()._extract_corpus_statistics([*said], [[*true]]), np.float64)
    return lambda weights: {"chrf": _chrf(weights @ counts)}


def rouge(said: Sequence[str], true: Sequence[str]) -> dict[str, np.ndarray]:
    """{rouge1, rouge2, rougeL: (n,)} F-measures of rouge-score, without stemming, in shares of 1."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE))
    rows = [scorer.score(target, text) for text, target in zip(said, true, strict=True)]
    return {name: np.array([row[name].fmeasure for row in rows]) for name in ROUGE}


def _bleu(sums: np.ndarray) -> np.ndarray:
    """(b, 2 + 2 orders): lengths of both sides, n-grams that are right, n-grams that are said."""
    mine, theirs, right, every = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    halved = 2.0 ** np.cumsum(
        (right == 0) & (every > 0), 1
    )  # an order without a hit counts half of one, the next a quarter
    hits = np.where(right > 0, right, 1 / halved)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = 100 * hits / every
        brief = np.where(mine < theirs, np.exp(1 - theirs / mine), 1.0)
        score = brief * np.exp(np.log(precision).mean(1))
    return np.where((every > 0).all(1) & right.any(1), score, 0.0)


def _chrf(sums: np.ndarray, beta: float = 2.0) -> np.ndarray:
    """(b, 3 orders): for each order n-grams said, true, and in both."""
    said, true, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counted = (said > 0) & (true > 0)
    orders = np.maximum(counted.sum(1), 1)
    share = lambda of: (np.divide(both, of, out=np.zeros_like(both), where=counted)).sum(1) / orders
    precision, recall = share(said), share(true)
    below = beta**2 * precision + recall
    above = (1 + beta**2) * precision * recall
    return 100 * np.divide(above, below, out=np.zeros_like(below), where=below > 0)
