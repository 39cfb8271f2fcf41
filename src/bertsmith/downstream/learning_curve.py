"""A learning curve: scores on the dev rows by the number of training rows, of the model, of fresh weights and of a simple method.

OUT/rows-50/model/seed-0, OUT/rows-50/scratch/seed-0, … are runs.  Rows are drawn by class and by the seed of the run, those of a smaller
number among those of a larger one, the same for all arms; so an interval is over texts, seeds and the rows that were drawn.
"""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.asked import Asked, check_early
from bertsmith.downstream.halving import warnings_of
from bertsmith.downstream.labelled_files import Rows, Say
from bertsmith.downstream.model import opened
from bertsmith.downstream.prepared import Prepared, taught_rows
from bertsmith.downstream.report_runs import SAID_ARMS as SAID
from bertsmith.downstream.teachers import keep
from bertsmith.downstream.tuned import KEPT, RESULT, RESULT_FORMAT, Tuned
from bertsmith.errors import InputError, Interrupted, printable
from bertsmith.spelling import again, amount, flag, option
from bertsmith.tasks import kinds, metrics, paired
from bertsmith.tasks.metrics import Figures, Score
from bertsmith.tasks.split import Few
from bertsmith.training.distributed import World
from bertsmith.training.stop import Stop

ALL = "all"
ROWS = re.compile(r"rows-\d+")
MODEL, SCRATCH, BASELINE = "model", "scratch", "baseline"


@dataclass(frozen=True)
class Cell:
    """One number of rows, one seed, one arm."""

    arm: str
    rows: int
    seed: int

    @property
    def place(self) -> Path:
        return Path(f"rows-{self.rows}", self.arm, f"seed-{self.seed}")


def learned(asked: Asked, numbers: Any, world: World) -> dict[str, Any]:
    """What result.json says: {task, curve: {by, rows, seeds, arms: {name: [{rows, dev, each}]}, says}}.  InputError before anything is written."""
    out, say = Path(asked.out), asked.say
    with world.agreed():
        wanted = parsed(numbers)
        _check_wanted(wanted)
        _check_asked(asked)
        if world.first:
            _check_out(out, asked.resume)
        check_early(asked)
        asked.files.check_apart()
        read = Rows.read(asked.files, say)
        many = _counted(wanted, len(read.rows["train"]))
        for count in many:
            _fewer(read, Few(count, asked.seed))
        from bertsmith.training.processes import own_device

        read = taught_rows(read, asked, out)
        model = opened(asked.model, str(own_device(asked.device)), asked.members, say)
        baseline, seeds = asked.baseline, asked.seeds
        asked = asked.but(model=model, say=warnings_of(say), baseline=False, seeds=1)
        cells = [
            Cell(arm, rows, seed)
            for rows in many
            for seed in range(asked.seed, asked.seed + seeds)
            for arm in (MODEL, SCRATCH)
        ]
        Prepared.of(asked.but(out=out / cells[0].place), world, read=read, free=True)
        # What these can do the ones between can, too.
        steps = [_prepared(asked, cell, read, world).steps for cell in (*cells[:2], *cells[-2:])]
    if read.soft is not None and world.first:
        keep(read.soft, out)
    _plan(cells, many, seeds, steps, say)
    heard: dict[tuple[str, int], dict[int, Figures]] = {}
    with ExitStack() as stack:
        world.stop = world.stop or stack.enter_context(Stop())
        for cell in cells:
            if world.asked():
                name = world.caught.name  # type: ignore[union-attr]
                raise Interrupted(f"{name}: {cell.place} is not begun; {again()} goes on", world.caught)  # type: ignore[arg-type]
            heard.setdefault((cell.arm, cell.rows), {})[cell.seed] = _run(asked, cell, read, world, say)
            if baseline and cell.arm == MODEL:
                heard.setdefault((BASELINE, cell.rows), {})[cell.seed] = _simple(
                    _fewer(read, Few(cell.rows, cell.seed)), baseline
                )
    curve = _curve(heard, read, many, [*range(asked.seed, asked.seed + seeds)])
    for line in table(curve):
        say(line)
    if curve["says"]:
        say(curve["says"])
    result = {"format": RESULT_FORMAT, "kind": "finetune", "task": asked.task, "curve": curve}
    with world.agreed():
        if world.first:
            files.write(out / RESULT, files.sealed(result))
    return json.loads(json.dumps(result))


def parsed(numbers: Any) -> list[int | str]:
    """`"50,100,all"` or [50, 100, "all"].  InputError for an empty list and for what is no number of rows."""
    given = numbers.split(",") if isinstance(numbers, str) else [numbers] if isinstance(numbers, int) else [*numbers]
    found: list[int | str] = []
    for one in given:
        text = str(one).strip().replace("_", "")
        whole = text.isdecimal() and text.isascii() and int(text) > 0 and not isinstance(one, bool)
        if not whole and text != ALL:
            what = printable(repr(one), 40)
            raise InputError(
                f"{option('learning_curve')}: {what}: numbers of rows from 1 are wanted, or all: 50,500,all"
            )
        found.append(int(text) if whole else ALL)
    if not found:
        raise InputError(f"{option('learning_curve')}: no numbers; 50,500,all are three")
    return found


def _check_wanted(wanted: list[int | str]) -> None:
    """InputError for one that stands twice, and for one alone."""
    twice = next((one for i, one in enumerate(wanted) if one in wanted[:i]), None)
    if twice is not None:
        raise InputError(f"{option('learning_curve')}: {twice}: stands there twice")
    if len(wanted) < 2:
        more = f"50,500,{ALL}" if wanted[0] == ALL else f"{wanted[0]},{ALL}"
        raise InputError(f"{option('learning_curve')}: one number is no curve; give several, such as {more}")


def _counted(wanted: list[int | str], there: int) -> list[int]:
    """Ascending.  InputError for more than there are, and for one that stands twice."""
    many = sorted(there if one == ALL else int(one) for one in wanted)
    if many.count(there) > 1:
        raise InputError(f"{option('learning_curve')}: {there:,} rows stand there twice: {ALL} is as many")
    if many[-1] > there:
        raise InputError(
            f"{option('learning_curve')}: {amount(many[-1], 'row')}, and there are {there:,} to learn from; {ALL} takes all of them"
        )
    return many


def _fewer(read: Rows, few: Few) -> Rows:
    try:
        return read.fewer(few)
    except InputError as error:
        raise InputError(f"{option('learning_curve')}: {error}") from None


def _prepared(asked: Asked, cell: Cell, read: Rows, world: World) -> Prepared:
    """Fresh weights all learn, whatever the method of the model."""
    scratch = cell.arm == SCRATCH
    few = Few(cell.rows, cell.seed)
    one = asked.but(out=Path(asked.out) / cell.place, few=few, seed=cell.seed, scratch=scratch)
    one = one.but(method="full") if scratch else one
    return replace(Prepared.of(one, world, read=_fewer(read, few), free=True), going=True)


def _run(asked: Asked, cell: Cell, read: Rows, world: World, say: Say) -> Figures:
    """Scores of the dev rows as a function of their weights."""
    prepared = _prepared(asked, cell, read, world)
    run, kind = Tuned(prepared.out), prepared.tuning.task.kind
    result = prepared.run(run, cell.seed)
    by = result["chosen_by"]
    value = result["dev"][by]["value"]
    say(f"{amount(cell.rows, 'row')}, {SAID[cell.arm]}, seed {cell.seed}: {by} {value:.4f}")
    said, known = prepared.tuning.said(run, result)
    return kind.figures(prepared.read.targets["dev"], said, known)


def _simple(read: Rows, name: bool | str) -> Figures:
    kind = read.kind
    _, said = kinds.simple_of(kind, name)(read.rows, read.targets, read.known)
    return kind.figures(read.targets["dev"], said, kind.settled(read.targets["dev"], said, read.known))


def _curve(heard: dict[tuple[str, int], dict[int, Figures]], read: Rows, many: list[int], seeds: list[int]) -> Any:
    count, by, arms = len(read.rows["dev"]), read.kind.best(read.known), {}
    for arm in (arm for arm in SAID if any(arm == of for of, _ in heard)):
        arms[arm] = [{"rows": rows, **_point(heard[arm, rows], count, by)} for rows in many]
    curve = {"by": by, "rows": many, "seeds": seeds, "arms": arms}
    return {**curve, "says": says(curve)}


def _point(figures: dict[int, Figures], count: int, by: str) -> dict[str, Any]:
    """{dev: {score: {value, low, high}}, each: the score that chooses, of each seed}; the dev rows and the seeds are resampled."""
    found: dict[str, Score] = paired.compared(figures, figures, count)["a"]
    each = [metrics.scored(one, count, resamples=0)[by]["value"] for one in figures.values()]
    return {"dev": found, "each": each}


# -- what is said -------------------------------------------------------------------------------------------------------------------


def _plan(cells: list[Cell], many: list[int], seeds: int, steps: list[int], say: Say) -> None:
    rows = ", ".join(f"{count:,}" for count in many)
    of = f"{amount(len(many), 'number')} of rows ({rows}), the model and fresh weights, {amount(seeds, 'seed')}"
    each = (
        f"{min(steps):,} to {amount(max(steps), 'update')}" if min(steps) < max(steps) else amount(steps[0], "update")
    )
    say(f"learning curve: {amount(len(cells), 'run')}: {of}; {each} each")


def table(curve: dict[str, Any]) -> list[str]:
    """A line for each number of rows, a column for each arm."""
    by, arms = curve["by"], curve["arms"]
    lines = [f"{by:>10}  " + "".join(f"{SAID[arm]:27}" for arm in arms)]
    for i, rows in enumerate(curve["rows"]):
        lines.append(f"{rows:>10,}  " + "".join(f"{metrics.said(points[i]['dev'][by]):27}" for points in arms.values()))
    return [line.rstrip() for line in lines]


def says(curve: dict[str, Any]) -> str:
    """How many rows fresh weights need for what the model reaches with few: of the largest number that they come up to, or of the smallest,
    where they never do.  "" where they are not behind: where the model's score is within the interval of theirs."""
    by, many = curve["by"], curve["rows"]
    model, scratch = ([point["dev"][by]["value"] for point in curve["arms"][arm]] for arm in (MODEL, SCRATCH))
    behind = [point["dev"][by]["high"] < score for point, score in zip(curve["arms"][SCRATCH], model, strict=True)]
    for rows, score, less in reversed([*zip(many, model, behind, strict=True)]):
        needed = reached(score, many, scratch)
        if less and needed is not None and needed > rows:
            return (
                f"with {amount(rows, 'labelled row')} the model reaches {by} {score:.3f}, for which fresh weights need about "
                f"{needed:,.0f}, {needed / rows:.1f} times as many"
            )
    if behind[0] and max(scratch) < model[0]:
        return (
            f"with {amount(many[0], 'labelled row')} the model reaches {by} {model[0]:.3f}; fresh weights do not with {many[-1]:,}, "
            f"where they reach {scratch[-1]:.3f}"
        )
    return ""


def reached(score: float, many: list[int], scores: list[float]) -> float | None:
    """The number of rows at which a curve first comes up to a score, between two of its points by the logarithm of the rows; None: it does not."""
    if scores[0] >= score:
        return float(many[0])
    for (a, low), (b, high) in zip(
        zip(many, scores, strict=True), zip(many[1:], scores[1:], strict=True), strict=False
    ):
        if low < score <= high:
            return math.exp(math.log(a) + (score - low) / (high - low) * (math.log(b) - math.log(a)))
    return None


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _check_asked(asked: Asked) -> None:
    if asked.scratch:
        raise InputError(
            f"{option('learning_curve')} with {flag('scratch')}: fresh weights are one of its arms; leave the option out"
        )
    if asked.against is not None:
        raise InputError(
            f"{option('learning_curve')} with {option('against')}: its runs have numbers of rows of their own; `bertsmith compare` takes two of them"
        )
    if isinstance(asked.seeds, bool) or not isinstance(asked.seeds, int) or asked.seeds < 1:
        raise InputError(f"{option('seeds', asked.seeds)}: expected a number from 1")


def _check_out(out: Path, resume: bool) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{printable(out)}: {option('out')} is no folder; choose another place")
    files.refuse_unless_replaceable(out, _ours, "learning curve", force=False)
    inside = os.listdir(out) if out.is_dir() else []
    if inside and not any(map(ROWS.fullmatch, inside)):
        raise InputError(f"{printable(out)}: {option('out')} holds a fine-tuning; choose another place")
    if inside and not resume:
        raise InputError(
            f"{printable(out)}: {option('out')} holds a learning curve already; {flag('resume')} goes on with it"
        )


def _ours(name: str) -> bool:
    return name == RESULT or name.startswith(f".{RESULT}.tmp-") or any(one.fullmatch(name) for one in (ROWS, KEPT))
