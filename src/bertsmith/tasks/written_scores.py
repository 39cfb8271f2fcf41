"""How good written answers are: as texts, as names of classes, as numbers.  n texts, b resamples, c classes.

Every score is a function of the weights of the texts, so that intervals and comparisons resample them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertsmith.tasks import answer_scores, metrics, overlap
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.metrics import Figures
from bertsmith.tasks.template import number_of

FEW, OFTEN = 50, 3  # different targets at most, and rows of each at least, where they are names of classes
METRICS = ("exact", "f1", "accuracy", "macro_f1", "pearson", "spearman", "bleu", "chrf", "rouge")
PERCENT = ("bleu", "chrf")  # from 0 to 100; all others are shares of 1
OF_CLASSES, OF_NUMBERS = ("accuracy", "macro_f1"), ("pearson", "spearman")


def figures(said: Sequence[str], true: Sequence[str], labels: Labels, metric: str | None = None) -> Figures:
    """exact and f1 as SQuAD's script has them; where targets are names of classes accuracy, macro_f1 and other (the share that names none);
    where they are numbers pearson, spearman and other (what is no number counts as the mean of the training file); BLEU and chrF, or
    ROUGE, where `metric` is one of these."""
    parts = [
        *([_of_classes(said, true, labels)] if labels.names else []),
        *([_of_numbers(said, true, labels)] if labels.numbers else []),
    ]
    parts.append(_means({name: right(said, true, name) for name in ("exact", "f1")}))
    if metric in ("bleu", "chrf"):
        parts += [overlap.bleu(said, true), overlap.chrf(said, true)]
    if metric == "rouge":
        parts.append(_means(overlap.rouge(said, true)))

    def all_of(weights: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for part in parts:
            found |= {name: values for name, values in part(weights).items() if name not in found}
        return found

    return all_of


def right(said: Sequence[str], true: Sequence[str], name: str) -> np.ndarray:
    """(n,) exact match or F1 of each text with its target."""
    scoring = answer_scores.scoring([text] for text in true)
    rule = scoring.exact if name == "exact" else scoring.overlap
    return np.array([rule(mine, [target]) for mine, target in zip(said, true, strict=True)])


def numbered(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(n,) the class that each text names, -1 for none: case and blanks aside, unless two classes differ by these alone."""
    loose = len({_key(name) for name in names}) == len(names)
    key = _key if loose else str.strip
    known = {key(name): i for i, name in enumerate(names)}
    return np.array([known.get(key(text), -1) for text in texts], np.int64)


def as_number(text: str) -> float | None:
    """A number as it was written, blanks aside: a tokenizer may part it."""
    return number_of("".join(text.split()))


def _key(text: str) -> str:
    return "".join(text.casefold().split())


def _means(rows: dict[str, np.ndarray]) -> Figures:
    return lambda weights: {name: weights @ values / weights.sum(1) for name, values in rows.items()}


def _of_classes(said: Sequence[str], true: Sequence[str], labels: Labels) -> Figures:
    mine, truth = numbered(said, labels.names), numbered(true, labels.names)
    each = np.arange(len(labels.names))
    told, held = ((ids[:, None] == each).astype(np.float64) for ids in (mine, truth))  # (n, c)
    rows = _means(
        {"accuracy": ((mine == truth) & (mine >= 0)).astype(np.float64), "other": (mine < 0).astype(np.float64)}
    )

    def found(weights: np.ndarray) -> dict[str, np.ndarray]:
        hits, asked = weights @ (told * held), weights @ told + weights @ held
        f1 = np.divide(2 * hits, asked, out=np.zeros_like(asked), where=asked > 0)
        means = rows(weights)
        macro = f1.sum(1) / np.maximum((asked > 0).sum(1), 1)
        return {"accuracy": means["accuracy"], "macro_f1": macro, "other": means["other"]}

    return found


def _of_numbers(said: Sequence[str], true: Sequence[str], labels: Labels) -> Figures:
    read = [as_number(text) for text in said]
    truth = [labels.mean if number is None else number for number in map(as_number, true)]
    scores = metrics.number_figures(truth, [labels.mean if number is None else number for number in read])
    other = _means({"other": np.array([number is None for number in read], np.float64)})
    return lambda weights: {**scores(weights), **other(weights)}
