"""A labelled task written as text: which of its labels does a model expect there?"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import metrics
from bertsmith.tasks.table import ROLES, Table

LABEL = "{label}"


@dataclass(frozen=True)
class Written:
    """`before` and `behind` the label; `names`: each label, and how it is written."""

    before: str
    behind: str
    names: Mapping[str, str]

    @classmethod
    def of(cls, written: str, labels: Any) -> Written:
        """InputError for a text without one {label}, or with other fields than a row has."""
        said = option("written", written)
        if written.count(LABEL) != 1:
            raise InputError(f"{said}: {{label}} must stand in it once, where the model is asked for it")
        before, _, behind = written.partition(LABEL)
        try:
            fields = {name for _, name, *_ in string.Formatter().parse(before + behind) if name is not None}
        except ValueError as error:
            raise InputError(f"{said}: {error}; braces that are text are doubled") from None
        if fields - {*ROLES[:2]} or "text" not in fields:
            raise InputError(
                f"{said}: {{text}}, {{text2}} and {{label}} are what a row has, and {{text}} must stand in it"
            )
        names = labels if isinstance(labels, Mapping) else {str(name): str(name) for name in labels}
        return cls(before, behind, {str(name): str(text) for name, text in names.items()})

    def about(self, table: Table) -> Written:
        """With the labels of a file where none were given.  InputError for a row whose label is not one of them, or a column that is missing."""
        if "{text2}" in self.before + self.behind and not table.pairs:
            raise InputError(f"{printable(table.path)}: has no column text2, which {option('written')} names")
        found = [str(label) for label in table.rows("label") or ()]
        names = self.names or {name: name for name in sorted(set(found))}
        if len(names) < 2:
            raise InputError(
                f"{printable(table.path)}: {amount(len(names), 'label')}; {option('labels', like='a,b')} says which there are"
            )
        wrong = next((i for i, label in enumerate(found) if label not in names), None)
        if wrong is not None:
            known = ", ".join(printable(name, 40) for name in names)
            raise InputError(f'{table.where(wrong)}: label: "{printable(found[wrong], 60)}" is not one of: {known}')
        return replace(self, names=names)

    def asked(self, asks: Any, table: Table, per: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        """What `Likelihood` says of each label and what follows it, after what stands before it."""
        texts = [dict(zip(ROLES, row, strict=False)) for row in table.inputs()]
        before = [self.before.format(**row) for row in texts]
        values = np.zeros((len(texts), len(self.names)))
        for at, text in enumerate(self.names.values()):
            behind = [text + self.behind.format(**row) for row in texts]
            values[:, at] = [per(row) for row in asks(before, behind, table.where, False, join="")]
        names, best = [*self.names], values.argmax(1)
        rows = [
            {"index": i, "label": names[at], "scores": dict(zip(names, row.tolist(), strict=True))}
            for i, (at, row) in enumerate(zip(best.tolist(), values, strict=True))
        ]
        found: dict[str, Any] = {"classes": dict(Counter(names[at] for at in best)), "rows": rows}
        truth = table.rows("label")
        if truth is not None:
            right = [float(row["label"] == str(label)) for row, label in zip(rows, truth, strict=True)]
            found = {"accuracy": metrics.mean(right), "classes": dict(Counter(map(str, truth))), "rows": rows}
        return found
