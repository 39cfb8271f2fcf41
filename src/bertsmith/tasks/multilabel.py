"""Any number of several labels for a text, none too: a sigmoid for each.  n texts, c labels.

A row's labels are a list (.jsonl), or one text in which a sign parts them: the first of `|`, `;` and `,` that the training file's labels
hold.  A row has a label from a probability on that the dev file chooses: one for all labels, that of the highest micro F1, or one for each.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks import baselines, breakdown, metrics, outlines
from bertsmith.tasks.doubts import JOINING, counted, missing_value, shown, variants
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.looks import fitting
from bertsmith.tasks.readers import Table, read
from bertsmith.tasks.sequences import Asked, Encoded
from bertsmith.tasks.table import GROUPED, with_groups
from bertsmith.tasks.texts import Texts, added, both

Array = np.ndarray
EVEN = 0.5  # the threshold where nothing chose another
NONE = "none"  # what a row without labels is said to have


@dataclass(frozen=True)
class MultiLabel(Texts):
    """`thresholds`: one for all labels, or one for each."""

    hears: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = GROUPED
    name: str = "multilabel"
    settings: tuple[str, ...] = ("thresholds",)
    thresholds: Literal["one", "each"] = "one"

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Table:
        required = ("text", *(("text2",) if pairs else ()), *(("label",) if labelled else ()))
        with fitting(path, self.name, encoding):
            how = {"lists": ("label",), "roles": with_groups(columns)}
            return read(path, columns=columns, header=header, required=required, encoding=encoding, **how)

    def best(self, labels: Labels) -> str:
        return "micro_f1"

    # -- what the labels are ---------------------------------------------------------------------------------------------------------

    def learn(self, table: Table, names: tuple[str, ...] = ()) -> Labels:
        separator = _separator(table, names)
        found = Counter(name for row in _rows(table, separator, names) for name in row)
        if names:
            known = Labels(names=tuple(names), separator=separator)
            self.targets(table, known)
            return known
        if not found:
            raise InputError(f"{printable(table.path)}: label: no row has one; there is nothing to learn")
        if len(found) > max(100, len(table) // 2):
            raise InputError(
                f"{printable(table.path)}: label: {amount(len(found), 'different label')} in {amount(len(table), 'row')}; {option('columns', 'label=NAME')} says which column they stand in"
            )
        return Labels(names=tuple(sorted(found)), separator=separator)

    def targets(self, table: Table, labels: Labels) -> Array:
        """(n, c) float32, 1 where a row has a label."""
        known = {name: i for i, name in enumerate(labels.names)}
        found = np.zeros((len(table), len(known)), np.float32)
        for i, row in enumerate(_rows(table, labels.separator, labels.names)):
            for name in row:
                if name not in known:
                    allowed = ", ".join(printable(n, 40) for n in labels.names[:20]) + ", …" * (len(known) > 20)
                    raise InputError(f'{table.where(i)}: label: "{printable(name, 60)}" is not one of: {allowed}')
                found[i, known[name]] = 1
        return found

    def strata(self, table: Table) -> tuple[str, Sequence[Hashable]]:
        """The rarest label of each row."""
        rows = _rows(table, _separator(table))
        often = Counter(name for row in rows for name in row)
        return "by label", [min(sorted(row), key=lambda name: often[name], default="") for row in rows]

    def outline(self, table: Table, labels: Labels) -> dict[str, Any]:
        found = self.targets(table, labels)
        each, many = found.sum(0).astype(int).tolist(), found.sum(1)
        return {
            "labels": dict(zip(labels.names, each, strict=True)),
            "several": int((many > 1).sum()),
            "none": int((many == 0).sum()),
            **({"separator": labels.separator} if labels.separator else {}),
        }

    def told(self, found: outlines.Outlines) -> Iterator[str]:
        train = found["train"]
        for part, one in found.items():
            mean, labels = sum(one["labels"].values()) / one["rows"], counted(one["labels"])
            what = f"{amount(len(one['labels']), 'label')}, {mean:.2f} a row, {one['none']:,} with none"
            yield f"{part}: {amount(one['rows'], 'row')}, {what}: {labels}"
        if train["several"] and "separator" in train:
            yield f"labels of a row are parted by {train['separator']!r}"
        if not train["several"]:
            yield f"warning: train: no row has several labels; {option('task', 'classify')} learns one a row"
        yield from outlines.rare(train["labels"], found["dev"]["labels"], "labels", self.unit)
        for alike in variants(train["labels"]):
            yield f"warning: train: labels that differ only in case or blanks: {counted({n: train['labels'][n] for n in alike})}"
        missing = [name for name in train["labels"] if missing_value(name)]
        if missing:
            yield f"warning: train: {shown(missing[0])} is a label here; a row without any has an empty field, or []"

    # -- what is learned and said ----------------------------------------------------------------------------------------------------

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any:
        from bertsmith.objectives.supervised import Several

        return Several(classes=len(labels.names), dropout=dropout, pool=pool)

    def loss(self, encoded: Encoded, asked: Asked, values: Array) -> float:
        """log(1 + e^x) - y x, the mean over texts and labels."""
        x = added(encoded, values).astype(np.float64)
        return float((np.logaddexp(0, x) - asked.labels * x).mean())

    def settled(self, targets: Array, said: Array, labels: Labels) -> Labels:
        """The thresholds with the highest F1; a label that no dev row has takes that of all."""
        p, true = _shares(said), targets > 0
        one = threshold(p.ravel(), true.ravel())
        found = [one] * len(labels.names)
        if self.thresholds == "each":
            found = [threshold(p[:, i], true[:, i]) if true[:, i].any() else one for i in range(len(found))]
        return replace(labels, thresholds=tuple(found))

    def answer(self, table: Table, said: Array, labels: Labels) -> list[dict[str, Any]]:
        """The labels of each text, and the probability of every one."""
        names = np.array(labels.names, object)
        return [
            {"label": names[has].tolist(), "scores": dict(zip(labels.names, row.tolist(), strict=True))}
            for row, has in zip(_shares(said), _has(said, labels), strict=True)
        ]

    def score(
        self, targets: Array, said: Array, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]:
        return metrics.scored(self.figures(targets, said, labels), len(targets), seed, resamples)

    def figures(self, targets: Array, said: Array, labels: Labels) -> metrics.Figures:
        return metrics.label_figures(targets > 0, _has(said, labels))

    def breakdown(self, targets: Array, said: Array, labels: Labels) -> dict[str, Any]:
        true, has = targets > 0, _has(said, labels)
        counts = np.stack([(true & has).sum(0), has.sum(0), true.sum(0)], 1).tolist()
        return breakdown.of_counts(dict(zip(labels.names, map(tuple, counts), strict=True)))

    def only(self, said: Array, labels: Labels, targets: Array | None = None) -> str | None:
        """The labels that all rows are said to have, joined."""
        has = _has(said, labels)
        if (has != has[0]).any() or (targets is not None and (has == (targets > 0)).all()):
            return None
        names = [name for name, there in zip(labels.names, has[0], strict=True) if there]
        return (labels.separator or JOINING[0]).join(names) or NONE

    def baseline(self, rows: Mapping[str, Table], targets: Mapping[str, Array], labels: Labels) -> tuple[str, Array]:
        return baselines.several(both(rows["train"]), targets["train"], both(rows["dev"]))

    def correct(self, targets: Array, said: Array, labels: Labels | None = None) -> Array:
        """(n,) 1.0 where all labels are right."""
        return ((targets > 0) == _has(said, labels or Labels())).all(1).astype(np.float64)

    def right(self, targets: Array, said: Array, labels: Labels) -> Array:
        """(n,) whether all labels are right."""
        return self.correct(targets, said, labels) == 1

    def near(self, targets: Array, said: Array, labels: Labels) -> Array:
        """(n,) the mean over the labels of how probable is what is true of each."""
        return np.where(targets > 0, _shares(said), 1 - _shares(said)).mean(1)

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        one, other = (
            ", ".join(f"{name} {answer['scores'][name]:.2f}" for name in answer["label"]) or "none" for answer in (a, b)
        )
        truth = row["truth"]
        return (", ".join(map(str, truth)) if isinstance(truth, list) else str(truth or "")) or "none", one, other


def threshold(p: Array, true: Array) -> float:
    """(n,) probabilities, (n,) what is true -> the probability from which on F1 is highest, halfway between two that are there; of equal
    ones that nearest to 0.5, which it also is where nothing is true."""
    order = np.argsort(-p, kind="stable")
    ranked, hits = p[order], np.cumsum(true[order])
    if not len(p) or not hits[-1]:
        return EVEN
    lower = np.append(ranked[1:], -1e-9)
    f1 = np.where(ranked > lower, 2 * hits / (np.arange(1, len(p) + 1) + hits[-1]), -1.0)
    middles = (ranked + lower) / 2
    best = np.flatnonzero(f1 == f1.max())
    return float(middles[best[np.argmin(np.abs(middles[best] - EVEN))]])


def _shares(said: Array) -> Array:
    """(n, c) logits -> probabilities in double."""
    return 1 / (1 + np.exp(-np.clip(said.astype(np.float64), -500, 500)))


def _has(said: Array, labels: Labels) -> Array:
    """(n, c) whether a text is said to have a label."""
    return _shares(said) >= (np.array(labels.thresholds) if labels.thresholds else EVEN)


# -- a row's labels as its file has them ----------------------------------------------------------------------------------------------


def _separator(table: Table, names: Sequence[str] = ()) -> str:
    """The first sign of `JOINING` in labels that are no names; "" where they hold none."""
    whole = {*names}
    texts = [value for value in table.columns["label"] if isinstance(value, str) and value not in whole]
    return next((sign for sign in JOINING if any(sign in text for text in texts if not _listed(text))), "")


def _rows(table: Table, separator: str, names: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The labels of each row, each once.  InputError for what is no label."""
    whole = {*names}
    found = []
    for i, value in enumerate(table.columns["label"]):
        parts = _parts(value, separator, whole)
        for part in parts:
            if isinstance(part, (bool, float)) or part is None:
                raise InputError(f"{table.where(i)}: label: {part!r} is not a label; a text or a whole number is")
        found.append(tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip())))
    return found


def _parts(value: Any, separator: str, names: set[str]) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    if not isinstance(value, str) or value in names:
        return [value]
    if _listed(value):
        return _literal(value)
    parts = value.split(separator) if separator else [value]
    if names and not names.issuperset(part.strip() for part in parts if part.strip()):  # another file, another sign
        known = (value.split(sign) for sign in JOINING if sign in value)
        parts = next((one for one in known if names.issuperset(part.strip() for part in one if part.strip())), parts)
    return list(parts)


def _listed(text: str) -> bool:
    """Whether a field is a list as Python or JSON writes it."""
    return text[:1] == "[" and text[-1:] == "]" and isinstance(_literal(text), list) and _literal(text) != [text]


def _literal(text: str) -> list[Any]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [text]
    return found if isinstance(found, list) else [text]
