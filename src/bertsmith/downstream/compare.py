"""`compare`: two fine-tuned models on the same texts; and what a fine-tuning is measured against at its end, `--baseline` and `--against`.

Differences are paired: both are asked about each text, and texts and seeds are resampled together (tasks/paired.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.deploy import folder
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.predict import Columns, judged, judged_rows
from bertsmith.downstream.tuned import Tuned
from bertsmith.errors import InputError, printable
from bertsmith.tasks import kinds, metrics, paired
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.lines import check_there
from bertsmith.tasks.metrics import Figures, Score
from bertsmith.tasks.readers import parse_columns
from bertsmith.training.run import CONFIG, STEPS

Say = Callable[[str], None]
Model = str | Path | Loaded
Asked = Callable[[Loaded, Say], tuple[Any, Any, kinds.Kind]]  # targets, what is said, the kind


def silent(*_: Any) -> None:
    pass


def compare(
    a: Model,
    b: Model,
    input: str | Path | None = None,
    *,
    columns: Columns = None,
    header: bool | None = None,
    seed: int = 0,
    members: tuple[str, ...] = (),
    say: Say = silent,
) -> dict[str, Any]:
    """{task, input, texts, seeds, chosen_by, a, b, difference, says}: every score of two fine-tuned models on `input`, and `a` minus `b`,
    each {value, low, high} with its 95 % interval over texts and seeds; `says` is one sentence, of the score that chose the models.

    A fine-tuning of several seeds counts as their mean.  `input` None: the dev file of both.  InputError for other tasks or labels, and
    for dev files that are not the same bytes, before a model is loaded.
    """
    if input is not None:
        check_there(input)
    chosen = None if columns is None else parse_columns(columns)
    sides = Side.of(a), Side.of(b)
    sides[0].check_same(sides[1])
    say = _once(say)
    path = _shared_dev(*sides) if input is None else Path(input)
    mine, theirs = (
        side.heard(lambda loaded, say: judged(loaded, path, columns=chosen, header=header, say=say), members, say)
        for side in sides
    )
    found = _compared(mine, theirs, seed)
    best = mine[0].best
    return {
        "task": mine[0].task,
        "input": str(path),
        "texts": mine[0].count,
        "seeds": {"a": len(mine), "b": len(theirs)},
        "chosen_by": best,
        **found,
        "says": paired.said(sides[0].name, sides[1].name, found["difference"][best], best),
    }


@dataclass(frozen=True)
class Heard:
    """What a model said of texts, as scores of them; `name` is what a user calls it."""

    name: str
    task: str
    labels: tuple[str, ...]
    best: str
    count: int
    figures: Figures

    @classmethod
    def of(cls, name: str, kind: kinds.Kind, targets: Any, said: Any, labels: Labels) -> Heard:
        figures = kind.figures(targets, said, labels)
        return cls(name, kind.name, labels.names, kind.best(labels), len(targets), figures)


@dataclass(frozen=True)
class Side:
    """A MODEL that is compared: one model for each of its seeds.  `task` and `dev` are None where only loading it tells."""

    name: str
    models: tuple[Model, ...]
    task: dict | None
    dev: dict | None  # {path, sha256, …}: what config.json says of its dev file

    @classmethod
    def of(cls, model: Model) -> Side:
        """No torch is loaded.  InputError for what is no fine-tuned model, or a fine-tuning of seeds that did not finish."""
        if isinstance(model, Loaded):
            return cls(
                printable(model.run), (model,), *_facts(printable(model.run), model.config | {"task": model.task})
            )
        check_model(model)
        path, name = folder.located(model), printable(model)
        if folder.is_foreign(path):
            return cls(name, (path,), None, None)
        run = Tuned(path.parent.parent if path.parent.name == STEPS else path)
        result = run.result()
        if result is None:
            run.check_seeds()
        seeds = [run / f"seed-{int(seed)}" for seed in (result or {}).get("seeds") or ()]
        config = (seeds[0] if seeds else run.path) / CONFIG
        data = files.plain(config)
        if data is None:
            raise InputError(f"{printable(config)}: missing; {name} is not a fine-tuned model")
        return cls(name, tuple(seeds) or (path,), *_facts(name, files.unsealed(data, config)))

    def check_same(self, other: Side) -> None:
        """InputError where both are known and differ in task or labels."""
        if self.task is not None and other.task is not None:
            both = [(side.name, side.task["kind"], tuple(side.task.get("labels") or ())) for side in (self, other)]
            _check_same(*both)

    def heard(self, ask: Asked, members: tuple[str, ...] = (), say: Say = silent) -> list[Heard]:
        """What each seed says; `say` is told what there is to tell of the first."""
        found = []
        for model in self.models:
            loaded = opened(model, members=members, say=say)
            if loaded.task is None:
                raise InputError(
                    f"{self.name}: has no head for a task; `bertsmith finetune` makes a model that can be compared"
                )
            targets, said, kind = ask(loaded, say)
            found.append(Heard.of(self.name, kind, targets, said, loaded.labels))
            say = silent
        return found


@dataclass(frozen=True)
class Beside:
    """What the models of a fine-tuning are measured against on their dev rows: a simple method, another fine-tuning."""

    kind: kinds.Kind
    rows: Any
    targets: Any
    simple: tuple[str, dict[str, Score], Heard] | None = None
    against: Side | None = None

    @property
    def given(self) -> bool:
        return self.simple is not None or self.against is not None

    @classmethod
    def of(cls, read: Any, baseline: bool, against: Model | None, say: Say) -> Beside:
        """`read`: the fine-tuning's rows (task.Rows).  The simple method learns here, before anything is written.  InputError where there
        is none, or where `against` has another task, other labels or another dev file."""
        made = cls(
            read.kind, read.rows["dev"], read.targets["dev"], None, None if against is None else Side.of(against)
        )
        if made.against is not None and made.against.task is not None:
            own = ("this fine-tuning", read.kind.name, read.known.names)
            _check_same(
                (made.against.name, made.against.task["kind"], tuple(made.against.task.get("labels") or ())), own
            )
        if not baseline:
            return made
        method, said = read.kind.baseline(read.rows, read.targets, read.known)
        scores = read.kind.score(made.targets, said, read.known)
        say(f"baseline: {method}: {', '.join(f'{name} {metrics.said(score)}' for name, score in scores.items())}")
        heard = Heard.of("the baseline", read.kind, made.targets, said, read.known)
        return cls(made.kind, made.rows, made.targets, (method, scores, heard), made.against)

    def check_dev(self, sha256: str) -> None:
        """InputError where the other one was scored on another dev file."""
        side = self.against
        if side is not None and side.dev is not None and side.dev.get("sha256") != sha256:
            raise InputError(
                f"--against {side.name}: its dev file was another one ({printable(side.dev.get('path'))}); `bertsmith compare` takes --input FILE"
            )

    def measured(self, said: Sequence[tuple[Any, Labels]], members: tuple[str, ...], say: Say) -> dict[str, Any]:
        """{baseline, against} for result.json; `said`: of each seed what it says of the dev rows, and its labels."""
        mine = [Heard.of("this model", self.kind, self.targets, *each) for each in said]
        found: dict[str, Any] = {}
        if self.simple is not None:
            method, scores, heard = self.simple
            paired_ = _compared(mine, [heard])
            found["baseline"] = {"method": method, "dev": scores, "difference": paired_["difference"]}
            _tell(mine[0], heard, paired_ | {"b": scores}, say)
        if self.against is not None:
            theirs = self.against.heard(lambda loaded, say: judged_rows(loaded, self.rows, say=say), members)
            paired_ = _compared(mine, theirs)
            says = paired.said(mine[0].name, self.against.name, paired_["difference"][mine[0].best], mine[0].best)
            found["against"] = {
                "model": self.against.name,
                "dev": paired_["b"],
                "difference": paired_["difference"],
                "says": says,
            }
            _tell(mine[0], theirs[0], paired_, say)
        return found


def table(a: str, b: str, found: dict[str, dict[str, Score]]) -> Iterator[str]:
    """Scores of both and their differences, a line each."""
    names = [name if len(name) <= 24 else f"…{name[-23:]}" for name in (a, b)]
    width = max(12, *map(len, found["difference"]))
    yield f"{'':{width}}  {names[0]:25}  {names[1]:25}  difference"
    for name, difference in found["difference"].items():
        shown = f"{metrics.said(found['a'][name]):25}  {metrics.said(found['b'][name]):25}  {metrics.said(difference)}"
        yield f"{name:{width}}  {shown}"


def _once(say: Say) -> Say:
    """What two models have to tell of the same file is told once."""
    told: set[str] = set()

    def new(line: str) -> None:
        if line not in told:
            told.add(line)
            say(line)

    return new


def _tell(mine: Heard, other: Heard, found: dict[str, dict[str, Score]], say: Say) -> None:
    for line in table(mine.name, other.name, found):
        say(line)
    say(paired.said(mine.name, other.name, found["difference"][mine.best], mine.best))


def _compared(a: list[Heard], b: list[Heard], seed: int = 0) -> dict[str, dict[str, Score]]:
    _check_same(*((side[0].name, side[0].task, side[0].labels) for side in (a, b)))
    return paired.compared([each.figures for each in a], [each.figures for each in b], a[0].count, seed)


def _check_same(a: tuple[str, str, tuple[str, ...]], b: tuple[str, str, tuple[str, ...]]) -> None:
    if a[1] != b[1]:
        raise InputError(
            f"{a[0]} is of --task {printable(a[1])} and {b[0]} of --task {printable(b[1])}: they cannot be compared"
        )
    if a[2] != b[2]:
        shown = (printable(", ".join(labels), 60) for labels in (a[2], b[2]))
        raise InputError(
            f"{a[0]} and {b[0]}: other labels: {' / '.join(shown)}; models of the same labels can be compared"
        )


def _facts(name: str, config: dict) -> tuple[dict, dict | None]:
    task = config.get("task")
    if not isinstance(task, dict):
        raise InputError(f"{name}: is a pre-training run; `bertsmith finetune` makes a model that can be compared")
    return task, (config.get("data") or {}).get("dev")


def _shared_dev(a: Side, b: Side) -> Path:
    """The dev file of both, which is still what it was."""
    one, other = ((side.dev or {}).get("sha256") for side in (a, b))
    if one is None or one != other:
        raise InputError(
            f"{a.name} and {b.name}: no dev file of the same bytes; --input FILE says which texts to compare them on"
        )
    for side in (a, b):
        path = Path(str(side.dev.get("path")))
        if os.path.isfile(path) and files.sha256(path) == one:
            return path
    raise InputError(
        f"{printable(a.dev.get('path'))}: the dev file of both is not there any more, or is another one; --input FILE says which texts to compare them on"
    )
