"""Scores class by class: precision, recall, F1 and support; who is taken for whom; a system that says one thing to all.  c classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bertsmith.errors import printable
from bertsmith.spelling import amount

SHOWN = 12  # classes in a terminal
WIDE = 120
KEYS = ("classes", "confusion", "majority", "says_only")  # beside the scores
FEW = 10  # that one answer to all of fewer texts is no news
Counts = tuple[int, int, int]  # found, said, true


def of_classes(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """{"classes": {name: {precision, recall, f1, support}}, "confusion": rows of truth, columns of what is said, in the order of `names`,
    "majority": {label, share}: the commonest class}.  A class that is never said has precision 0, as in scikit-learn."""
    confusion = np.bincount(truth * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), -1)
    counts = np.stack([np.diagonal(confusion), confusion.sum(0), confusion.sum(1)], 1).tolist()
    return {
        **of_counts(dict(zip(names, map(tuple, counts), strict=True))),
        "confusion": confusion.tolist(),
        "majority": _majority(dict(zip(names, confusion.sum(1).tolist(), strict=True))),
    }


def of_counts(counts: dict[str, Counts]) -> dict[str, Any]:
    """{"classes": {name: {precision, recall, f1, support}}} from what was found, said and true of each; 0 of nothing is 0."""
    share = lambda part, whole: part / whole if whole else 0.0
    return {
        "classes": {
            name: {
                "precision": share(found, said),
                "recall": share(found, true),
                "f1": share(2 * found, said + true),
                "support": true,
            }
            for name, (found, said, true) in counts.items()
        }
    }


def of_words(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """As of classes; a word that was not read (-1) is a miss of its tag, and in no column of the confusion matrix."""
    read = predicted >= 0
    found = of_classes(truth[read], predicted[read], names)
    true = np.bincount(truth, minlength=len(names))
    hits, said = (np.bincount(ids, minlength=len(names)) for ids in (truth[truth == predicted], predicted[read]))
    counts = dict(zip(names, zip(hits.tolist(), said.tolist(), true.tolist(), strict=True), strict=True))
    majority = _majority(dict(zip(names, true.tolist(), strict=True)))
    return found | of_counts(counts) | {"majority": majority}


def of_spans(true: Iterable[set], said: Iterable[set]) -> dict[str, Any]:
    """By type, as seqeval counts: sentence after sentence the spans (type, start, end) that are true and that are said."""
    counts: dict[str, list[int]] = {}
    for mine, theirs in zip(said, true, strict=True):
        for at, spans in enumerate((mine & theirs, mine, theirs)):
            for kind, *_ in spans:
                counts.setdefault(kind, [0, 0, 0])[at] += 1
    return of_counts({kind: tuple(counts[kind]) for kind in sorted(counts)})


def only(values: Iterable[Hashable]) -> Any:
    """What all values are; None where two differ, or there are none."""
    seen = set(values)
    return seen.pop() if len(seen) == 1 else None


def _majority(support: dict[str, int]) -> dict[str, Any]:
    label = max(support, key=lambda name: support[name])
    return {"label": label, "share": support[label] / max(sum(support.values()), 1)}


# -- as a user sees it ---------------------------------------------------------------------------------------------------------------


def lines(found: dict[str, Any], what: str = "class") -> Iterator[str]:
    """A table of `classes`; of many the six commonest and the six worst of the others.  With a confusion matrix where there is room for
    it, else with what each class is most often taken for."""
    classes = found.get("classes")
    if not classes:
        return
    shown = _chosen(classes)
    names = list(classes)
    width = max(len(what), *(len(_short(name)) for name in shown))
    head = f"{what:{width}}  precision  recall      f1  support"
    mistaken = _matrix(names, found["confusion"], len(head)) if "confusion" in found else None
    yield f"{head}{mistaken[0] if mistaken else ''}"
    for name in shown:
        row = classes[name]
        scores = f"{row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  {row['support']:7,}"
        yield f"{_short(name):{width}}  {scores}{mistaken[1][names.index(name)] if mistaken else ''}".rstrip()
    if len(classes) > len(shown):
        yield f"and {len(classes) - len(shown)} more (shown: the commonest and the worst)"


def beside(found: dict[str, Any], score: str) -> str:
    """What stands beside an accuracy: what saying the commonest label to all would score; "" beside other scores."""
    if score != "accuracy" or "majority" not in found:
        return ""
    return f" (always {_short(found['majority']['label'])}: {found['majority']['share']:.4f})"


def alike(says_only: dict[str, Any], found: dict[str, Any], what: str = "") -> str:
    """That a model says one thing ({label, count, of}) to all, and so what it has learned; `found`: its breakdown, `what`: of which texts."""
    label, asked = says_only["label"], f"all {says_only['count']:,} {what}{says_only['of']}"
    if isinstance(label, float):
        return f"it says {_quoted(label)} to {asked}: it has learned nothing beyond the mean"
    if says_only["of"] == "texts" and (not label or "classes" not in found):
        return f"it writes {_quoted(label) if label else 'nothing'} about {asked}: it has learned nothing from them"
    if label == "":
        return f"it says no answer to {asked}: it has learned to answer none"
    kind = "tag" if says_only["of"] == "words" else "class"
    support = {name: row["support"] for name, row in found.get("classes", {}).items()} or {"": 0}
    common = label == found.get("majority", {}).get("label") or support.get(label) == max(support.values())
    learned = f"it has learned nothing beyond the commonest {kind}" if common else f"it tells no {kind} from another"
    return f"it says {_quoted(label)} to {asked}: {learned}"


def predicted_alike(label: Any, count: int, units: str) -> str:
    """The same of predictions, whose truth is not known."""
    whose = f"all {amount(count, 'prediction')}" if units == "texts" else f"the predictions of all {count:,} {units}"
    return f"{whose} are {_quoted(label)}"


def _quoted(label: Any) -> str:
    """As `Kind.only` gives it."""
    if isinstance(label, float):
        return f"about {label:.4g}"
    return f"'{printable(label, 60)}'" if label else "no answer"


def _chosen(classes: dict[str, dict]) -> list[str]:
    if len(classes) <= SHOWN:
        return list(classes)
    commonest = sorted(classes, key=lambda name: -classes[name]["support"])[: SHOWN // 2]
    others = [name for name in classes if name not in commonest and classes[name]["support"]]
    worst = sorted(others, key=lambda name: (classes[name]["f1"], -classes[name]["support"]))[: SHOWN - len(commonest)]
    return [name for name in classes if name in {*commonest, *worst}]


def _matrix(names: list[str], confusion: list[list[int]], begins: int) -> tuple[str, list[str]]:
    """(what the head of the table goes on with, what each row does)."""
    widths = [max(len(_short(name)), len(f"{max(row[i] for row in confusion):,}")) for i, name in enumerate(names)]
    if len(names) <= SHOWN and begins + len("   said: ") + sum(widths) + 2 * len(widths) <= WIDE:
        cells = lambda row: "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        return f"   said: {cells(map(_short, names))}", [f"{'':9}{cells(f'{n:,}' for n in row)}" for row in confusion]
    return "   taken for", [f"   {_taken(i, row, names)}" for i, row in enumerate(confusion)]


def _taken(own: int, row: list[int], names: list[str]) -> str:
    wrong = Counter({i: n for i, n in enumerate(row) if n and i != own})
    return ", ".join(f"{_short(names[i])} {n:,}" for i, n in wrong.most_common(2))


def _short(name: str) -> str:
    return printable(name, 24)
