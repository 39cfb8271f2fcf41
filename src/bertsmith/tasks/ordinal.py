"""One of several classes that have an order: stars, grades, levels.  n texts, c classes, from the lowest to the highest.

The model gives a text one number f, and thresholds that are in order by how they are made say where one class ends and the next begins:
P(class > k) = sigmoid(f - threshold k), the proportional odds of McCullagh 1980 (equation 2.1), so that the probabilities of all classes
are consistent whatever was learned.  What is said of a text is the median class: the number of thresholds below f.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import baselines, breakdown, metrics, outlines
from bertsmith.tasks.doubts import same_number
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.readers import Table
from bertsmith.tasks.sequences import Asked, Encoded
from bertsmith.tasks.table import GROUPED
from bertsmith.tasks.texts import Classes, Texts, added, both, names_of

Array = np.ndarray
MOST = 50  # classes


@dataclass(frozen=True)
class Ordinal(Texts):
    hears: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = GROUPED
    name: str = "ordinal"
    term: str = "rank"

    def best(self, labels: Labels) -> str:
        return "quadratic_kappa"

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        """The classes in their order: as they are named, or that of numbers."""
        many = Counter(names_of(table))
        _check_spellings(table, (*many,))
        order = tuple(names) or tuple(sorted(many, key=lambda name: (_number(table, name), name)))
        if len(order) < 2:
            raise InputError(
                f"{printable(table.path)}: label: every row says {printable(order[0])!r}; two classes at least have an order"
            )
        if len(order) > MOST:
            raise InputError(
                f"{printable(table.path)}: label: {amount(len(order), 'different label')}; up to {MOST} classes are learned as such, {option('task', 'regress')} learns numbers"
            )
        known = Labels(names=order)
        self.targets(table, known)
        shares = (np.array([many[name] for name in order]) + 0.5) / (len(table) + len(order) / 2)
        return replace(known, shares=tuple(shares.tolist()))

    def targets(self, table: Table, labels: Labels) -> Array:
        """(n,) int64."""
        return Classes().targets(table, labels)

    def strata(self, table: Table) -> tuple[str, Sequence[Hashable]]:
        return "by class", [*names_of(table)]

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        return Classes().outline(table, labels)

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        yield from outlines.classes(found, self.unit)
        names = [printable(name, 24) for name in found["train"]["classes"]]
        shown = names if len(names) <= 12 else [*names[:6], "…", *names[-3:]]
        yield f"the order of the classes: {' < '.join(shown)}"

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Ordered

        return Ordered(classes=len(labels.names), dropout=dropout, pool=pool, shares=labels.shares)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        found = log_shares(added(encoded, values))
        return float(-found[np.arange(len(found)), asked.labels].mean())

    def answer(self, table: Table, said: Array, labels: Labels) -> list[dict[str, Any]]:
        """The median class of each text, and the probability of every class."""
        return [
            {"label": labels.names[rank], "scores": dict(zip(labels.names, row.tolist(), strict=True))}
            for row, rank in zip(np.exp(log_shares(said)), ranks(said).tolist(), strict=True)
        ]

    def score(
        self, targets: Array, said: Array, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.scored(self.figures(targets, said, labels), len(targets), seed, resamples)

    def figures(self, targets: Array, said: Array, labels: Labels) -> metrics.Figures:
        return metrics.rank_figures(targets, ranks(said))

    def breakdown(self, targets: Array, said: Array, labels: Labels) -> dict[str, Any]:
        return breakdown.of_classes(targets, ranks(said), labels.names)

    def only(self, said: Array, labels: Labels, targets: Array | None = None) -> str | None:
        at = breakdown.only(ranks(said).tolist())
        return None if at is None or (targets is not None and (targets == at).all()) else labels.names[at]

    def baseline(self, rows: Mapping[str, Table], targets: Mapping[str, Array], labels: Labels) -> tuple[str, Array]:
        """Of the classes' numbers, rounded."""
        name, found = baselines.numbers(both(rows["train"]), targets["train"].astype(float), both(rows["dev"]))
        return f"{name} of the classes' numbers, rounded", found - (np.arange(len(labels.names) - 1) + 0.5)

    def correct(self, targets: Array, said: Array, labels: Labels | None = None) -> Array:
        """(n,) minus the number of classes between what is said and what is true."""
        return -np.abs(ranks(said) - targets).astype(np.float64)

    def right(self, targets: Array, said: Array, labels: Labels) -> Array:
        return ranks(said) == targets

    def leaning(self, values: Any) -> Any:
        """(p, c - 1) tensor -> (p,): how high it stands in the order."""
        return values.mean(1)

    def near(self, targets: Array, said: Array, labels: Labels) -> Array:
        """(n,) the probability of the true class."""
        return np.exp(log_shares(said))[np.arange(len(said)), targets]

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        return Classes().beside(row, a, b)


def ranks(said: Array) -> Array:
    """(n, c - 1) log-odds of being above each class but the last -> (n,) the median class."""
    return (said > 0).sum(1)


def log_shares(said: Array) -> Array:
    """(n, c - 1) -> (n, c) log probabilities: log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - e^(b - a)), s the sigmoid."""
    ends = np.full((len(said), 1), np.inf)
    above, below = np.hstack([ends, said.astype(np.float64)]), np.hstack([said.astype(np.float64), -ends])
    log_sigmoid = lambda x: -np.logaddexp(0, -x)
    return log_sigmoid(above) + log_sigmoid(-below) + np.log1p(-np.exp(np.minimum(below - above, -1e-12)))


def _check_spellings(table: Table, names: Sequence[str]) -> None:
    """InputError for one number that stands there in two ways, 4 and 4.0, which would be two classes."""
    for one, other in same_number(names):
        at = names_of(table).index
        where = table.where(max(at(one), at(other)))
        raise InputError(
            f"{where}: label: {printable(one, 40)} and {printable(other, 40)} are the same number, and would be two classes; write it one way"
        )


def _number(table: Table, name: str) -> float:
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        i = names_of(table).index(name)
        raise InputError(
            f"{table.where(i)}: label: {printable(repr(name), 60)} is not a number, and the order of the classes is not known; {option('labels')} names them all, the lowest first"
        )
    return number
