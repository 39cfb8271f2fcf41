"""Two fine-tunings on the same dev file: the difference of their scores, resampled in pairs of rows, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bertsmith.errors import BertsmithError
from bertsmith.spelling import amount
from bertsmith.tasks.labels import Labels

if TYPE_CHECKING:
    from bertsmith.downstream.report_runs import Seen

Score = dict[str, float]  # value, low, high
LONGEST = 400  # characters of a text on the page
MOST = 6e12  # operations: about a minute on two cores


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`first` against `second`, each (name, score); `fresh`: the second had fresh weights and is otherwise the same."""

    measure: str
    first: tuple[str, Score]
    second: tuple[str, Score]
    difference: Score
    rows: str  # "951 texts"
    seeds: int = 1
    fresh: bool = False
    test: str = ""  # McNemar's, in a sentence
    changed: tuple[tuple[str, str, str, str], ...] = ()  # text, truth and what both say, of the rows that changed most

    @property
    def over(self) -> str:
        return f"over {amount(self.seeds, 'seed') + ' and ' if self.seeds > 1 else ''}{self.rows}"


def compared(first: Seen, second: Seen) -> Difference | str:
    """By the rows of the dev file that both were chosen on; where that cannot be, why."""
    if not any(_there(run) for run in (first, second)):
        return "the dev file is not where it was"
    if sum(map(_operations, (first, second))) > MOST:
        return "reading the dev file again would take more than a minute"
    from bertsmith.downstream import changed
    from bertsmith.downstream.compare import compare
    from bertsmith.tasks import kinds

    try:
        found = compare(first.folder, second.folder)
    except BertsmithError as error:
        return str(error)
    a, b, apart = (found[side][found["chosen_by"]] for side in ("a", "b", "difference"))
    return Difference(
        measure=found["chosen_by"],
        first=(first.name, a),
        second=(second.name, b),
        difference=apart,
        rows=f"{found['texts']:,} {first.rows}",
        seeds=min(found["seeds"].values()),
        fresh=second.scratch and not first.scratch,
        test="".join(changed.said(first.name, second.name, found)),
        changed=tuple(changed.cells(found["changed"], kinds.kind(found["task"]), LONGEST)),
    )


def _there(run: Seen) -> bool:
    return bool(run.dev.get("path")) and Path(run.dev["path"]).is_file()


def commonest(run: Seen) -> tuple[str, float] | None:
    """Of a classification the commonest class of the dev rows, and its share of them."""
    from bertsmith.downstream.dev_rows import dev_rows
    from bertsmith.tasks import kinds

    task = run.task
    if task.get("kind") != "classify":
        return None
    try:
        rows = dev_rows(task, run.config.get("data") or {})
        if rows is None:
            return None
        targets = kinds.kind("classify").targets(rows, Labels(names=tuple(task["labels"]))).tolist()
    except BertsmithError:
        return None
    most = max(set(targets), key=targets.count)
    return task["labels"][most], targets.count(most) / len(targets)


def _operations(run: Seen) -> float:
    """Of reading the dev file once with each seed."""
    tokens = ((run.best.get("texts") or {}).get("dev") or {}).get("tokens", 0)
    weights = [path.stat().st_size / 4 for path in run.path.glob("steps/*/model.safetensors")]
    return 2.0 * tokens * max(weights, default=0.0) * len(run.homes)
