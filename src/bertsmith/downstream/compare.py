"""`compare`: two fine-tuned models on the same texts.

Differences are paired: both are asked about each text, and texts and seeds are resampled together (tasks/paired.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.deploy import folder
from bertsmith.downstream import based, several
from bertsmith.downstream import changed as changes
from bertsmith.downstream.dev_rows import dev_rows
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.outputs import check_apart, check_lines
from bertsmith.downstream.predict import Columns, judged_rows, rows_of
from bertsmith.downstream.tuned import RESULT, Tuned
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, flag, option
from bertsmith.tasks import kinds, metrics, paired
from bertsmith.tasks.hub_rows import HUB
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.lines import check_there
from bertsmith.tasks.metrics import Figures, Score
from bertsmith.tasks.readers import parse_columns
from bertsmith.tasks.table import EVERY
from bertsmith.training.job import silent
from bertsmith.training.run import CONFIG, STEPS

Say = Callable[[str], None]
Model = str | Path | Loaded
Known = tuple[str, str, tuple[str, ...]]  # what a user calls it, its task, its labels
Asked = Callable[[Loaded, Say], tuple[Any, tuple[Any, Any, kinds.Kind]]]  # rows; targets, what is said, the kind


def compare(
    a: Model,
    b: Model,
    input: Any = None,
    *,
    columns: Columns = None,
    header: bool | None = None,
    encoding: str | None = None,
    changed: int = changes.CHANGED,
    out: str | Path | None = None,
    seed: int = 0,
    base: Model | None = None,
    members: tuple[str, ...] = (),
    say: Say = silent,
) -> dict[str, Any]:
    """{task, input, texts, seeds, chosen_by, a, b, difference, says, best_seeds, mcnemar, changed}: every score of two fine-tuned models on
    `input`, and `a` minus `b`, each {value, low, high} with its 95 % interval over texts and seeds; `says` is one sentence, of the score
    that chose the models.  `mcnemar`: {both, only_a, only_b, neither, p} of rows whose answers are right or wrong (None of numbers; a
    sentence of words, and a question, is right where all of it is); `changed`: the so many rows that changed most (changed.py), which
    `out` has as JSON lines.

    `base`: what models that were saved alone (adapters, …) began with, where that has moved; of two that began with others, one of theirs.
    A fine-tuning of several seeds counts as their mean; in `mcnemar` and `changed` its best seed speaks.  `input`: a labelled file, or rows
    (tasks/given.py); None: the dev rows of both.  InputError for other tasks or labels, and for dev files that are not the same bytes,
    before a model is loaded.
    """
    if changed < 0:
        raise InputError(f"{option('changed', changed)}: 0 or more texts can be shown")
    if isinstance(input, (str, os.PathLike)) and not str(input).startswith(HUB):
        check_there(input)
        check_apart(out, input)
    elif isinstance(input, Iterator):  # both read it
        input = list(input)
    if out is not None:
        check_lines(Path(out), "changed.jsonl")
    chosen = None if columns is None else parse_columns(columns, EVERY)
    sides = Side.of(a), Side.of(b)
    sides[0].check_like(sides[1])
    bases = _bases(sides, base)
    say = _once(say)
    shared = _shared_dev(*sides) if input is None else None

    def ask(loaded: Loaded, say: Say) -> tuple[Any, tuple[Any, Any, kinds.Kind]]:
        rows = shared
        if rows is None:
            kind = kinds.of_task(loaded.task or {})
            rows = rows_of(loaded, kind, input, chosen, header, encoding, say, labelled=True)
        return rows, judged_rows(loaded, rows, say=say)

    mine, theirs = (side.heard(ask, members, say, under) for side, under in zip(sides, bases, strict=True))
    found = compared(mine, theirs, seed)
    best = mine[0].best
    speak = [next(each for each in heard if each.seed == side.best) for heard, side in zip((mine, theirs), sides)]
    most = changes.changed(speak[0], speak[1], changed)
    if out is not None:
        files.write_rows(Path(out), most)
        say(f"{printable(out)}: {amount(len(most), 'text')} that changed most, a JSON line each")
    return {
        "task": mine[0].task,
        "input": _path(input) if shared is None else str(shared.path),
        "texts": mine[0].count,
        "seeds": {"a": len(mine), "b": len(theirs)},
        "chosen_by": best,
        **found,
        "says": paired.said(sides[0].name, sides[1].name, found["difference"][best], best),
        "best_seeds": {"a": sides[0].best, "b": sides[1].best},
        "mcnemar": changes.mcnemar(speak[0], speak[1]),
        "changed": most,
    }


@dataclass(frozen=True)
class Heard:
    """What a model said of texts, and scores of that; `name` is what a user calls it."""

    name: str
    kind: kinds.Kind
    targets: Any
    said: Any
    known: Labels
    seed: int = 0  # its number among several
    rows: Any = None  # where they are asked for

    @property
    def task(self) -> str:
        return self.kind.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.known.names

    @property
    def best(self) -> str:
        return self.kind.best(self.known)

    @property
    def count(self) -> int:
        return len(self.targets)

    @property
    def figures(self) -> Figures:
        return self.kind.figures(self.targets, self.said, self.known)


@dataclass(frozen=True)
class Side:
    """A MODEL that is compared: one model for each of its seeds.  `task` and `dev` are None where only loading it tells."""

    name: str
    models: tuple[Model, ...]
    task: dict | None
    data: dict | None  # what config.json says of its files
    seeds: tuple[int, ...] = (0,)  # numbers of the models
    best: int = 0  # the number of the one that is best on the dev rows
    needs: dict | None = None  # what config.json says of the model that it stands on

    @classmethod
    def of(cls, model: Model) -> Side:
        """No torch is loaded.  InputError for what is no fine-tuned model, or a fine-tuning of seeds that did not finish."""
        if isinstance(model, Loaded):
            return cls(
                printable(model.run), (model,), *_facts(printable(model.run), model.config | {"task": model.task})
            )
        check_model(model)
        path, name, one = folder.located(model), printable(model), folder.parted(model)[1]
        if folder.is_foreign(path):
            return cls(name, (path,), None, None)
        run = Tuned(path.parent.parent if path.parent.name == STEPS else path)
        result = run.result()
        if result is None:
            run.check_seeds()
        numbers = tuple(map(int, (result or {}).get("seeds") or ()))
        seeds = [run / f"seed-{number}" for number in numbers]
        config = (seeds[0] if seeds else run.path) / CONFIG
        data = files.plain(config)
        if data is None:
            raise InputError(f"{printable(config)}: missing; {name} is not a fine-tuned model")
        facts = files.unsealed(data, config)
        one, facts = several.chosen(facts, one, path)
        if not one and several.tasks_of(facts):
            raise InputError(several.unnamed(path, several.tasks_of(facts)))
        if result is None and run.path == path and facts.get("kind") == Tuned.kind:
            raise InputError(
                f"{printable(run / RESULT)}: missing; the fine-tuning here did not finish; {flag('resume')} goes on with it"
            )
        best = int((result or {}).get("best_seed", 0)) if numbers else 0
        models = tuple(Path(f"{place}:{one}") if one else place for place in seeds or (path,))
        return cls(name, models, *_facts(name, facts), numbers or (0,), best, based.needed(facts))

    @property
    def dev(self) -> dict:
        """What config.json says of its dev rows."""
        return (self.data or {}).get("dev") or {}

    @property
    def known(self) -> Known | None:
        return self.task and (self.name, self.task["kind"], tuple(self.task.get("labels") or ()))

    def check_like(self, other: Side) -> None:
        """InputError where both are known and differ in task or labels."""
        if self.known is not None and other.known is not None:
            check_same(self.known, other.known)

    def heard(
        self, ask: Asked, members: tuple[str, ...] = (), say: Say = silent, base: Model | None = None
    ) -> list[Heard]:
        """What each seed says; `say` is told what there is to tell of the first."""
        found = []
        for model, seed in zip(self.models, self.seeds, strict=True):
            loaded = opened(model, members=members, say=say, base=base)
            if loaded.task is None:
                raise InputError(
                    f"{self.name}: has no head for a task; `bertsmith finetune` makes a model that can be compared"
                )
            rows, (targets, said, kind) = ask(loaded, say)
            found.append(Heard(self.name, kind, targets, said, loaded.labels, seed, rows))
            say = silent
        return found


def _bases(sides: tuple[Side, Side], base: Model | None) -> list[Model | None]:
    """`base` for each side that stands on it.  InputError where neither does."""
    if base is None:
        return [None, None]
    standing = [side for side in sides if side.needs is not None]
    if not standing:
        raise InputError(
            f"{option('base')}: {sides[0].name} and {sides[1].name} are whole, and need none; leave the option out"
        )
    if isinstance(base, Loaded):
        found = [base if side.needs is not None and side.needs["weights"] == base.weights else None for side in sides]
    else:
        found = [base if side.needs is not None and based.stands_on(side.needs, base) else None for side in sides]
    if not any(one is not None for one in found):  # the error of the first tells both digests
        found = [base if side is standing[0] else None for side in sides]
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


def compared(a: list[Heard], b: list[Heard], seed: int = 0) -> dict[str, dict[str, Score]]:
    check_same(*((side[0].name, side[0].task, side[0].labels) for side in (a, b)))
    first, second = ({each.seed: each.figures for each in side} for side in (a, b))
    return paired.compared(first, second, a[0].count, seed)


def check_same(a: Known, b: Known) -> None:
    if a[1] != b[1]:
        raise InputError(
            f"{a[0]} is of {option('task', a[1])} and {b[0]} of {option('task', b[1])}: they cannot be compared"
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
    return task, config.get("data") or {}


def _path(input: Any) -> str | None:
    """None of rows that were given in Python."""
    return os.fspath(input) if isinstance(input, (str, os.PathLike)) else None


def _shared_dev(a: Side, b: Side) -> Any:
    """The dev rows of both, whose file is still what it was."""
    one, other = (side.dev.get("sha256") for side in (a, b))
    if one is None or one != other:
        raise InputError(
            f"{a.name} and {b.name}: not the same dev rows; {option('input', like='FILE')} says which texts to compare them on"
        )
    for side in (a, b):
        rows = dev_rows(side.task or {}, side.data or {})
        if rows is not None:
            return rows
    what = a.dev.get("path") or "their rows"
    raise InputError(
        f"{printable(what)}: the dev file of both is not there any more, or is another one; {option('input', like='FILE')} says which texts to compare them on"
    )
