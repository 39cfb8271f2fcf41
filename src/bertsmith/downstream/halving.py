"""A search over settings by successive halving (Jamieson & Talwalkar 2016): all trials begin, the better ones go on.

OUT/trials/trial-0, trial-1, … are runs with the schedule of their whole length, which pause at an exam and are gone on with as any run is:
one that comes to its end is the run that its settings alone would have made.  The best becomes OUT/seed-S, a fine-tuning of one seed
or, with others beside it, of several; OUT/search.json says what is searched, and in the end how each trial did.  A trial that stays behind keeps
its losses and no weights.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream import grid
from bertsmith.downstream.asked import Asked
from bertsmith.downstream.beside import Beside
from bertsmith.downstream.labelled_files import Rows, Say
from bertsmith.downstream.model import opened
from bertsmith.downstream.prepared import Prepared, taught_rows
from bertsmith.downstream.tuned import KEPT, RESULT, SEED, Tuned
from bertsmith.errors import InputError, Interrupted, NumericsError, printable
from bertsmith.spelling import again, amount, flag, option
from bertsmith.training.distributed import World
from bertsmith.training.exam import pause_at
from bertsmith.training.run import METRICS, STEPS, remove
from bertsmith.training.stop import Stop

SEARCH, TRIALS = "search.json", "trials"


@dataclass
class Trial:
    """Where a trial stands: `updates` so far, the scores of its best exam up to there, or why it `stopped`."""

    number: int
    values: grid.Trial
    prepared: Prepared
    of: int  # updates of the whole run
    updates: int = 0
    rung: int = 0
    rank: list[float] = field(default_factory=list)
    dev: dict[str, float] = field(default_factory=dict)
    stopped: str = ""

    @property
    def run(self) -> Tuned:
        return Tuned(self.prepared.out)

    @property
    def order(self) -> tuple:
        """The better the higher: who came further, then who did better; of equal ones the first."""
        return (not self.stopped, self.rung, self.rank, -self.number)

    @property
    def tree(self) -> dict[str, Any]:
        found = {"trial": self.number, "settings": self.values, "updates": self.updates, "of": self.of, "dev": self.dev}
        return {**found, **({"stopped": self.stopped} if self.stopped else {})}


def searched(asked: Asked, search: grid.Search, most: int | None, eta: int, world: World) -> dict[str, Any]:
    """What result.json says, `search` in it: {by, eta, trials, best, updates, alone}.  InputError before anything is written."""
    out, say = Path(asked.out), asked.say
    with world.agreed():
        found = grid.parsed(search)
        _check_asked(asked)
        every = grid.trials(found, most, asked.seed)
        shares = grid.rungs(len(every), eta)
        grid.check(asked, found, every)
        if world.first:
            _check_out(out, asked)
        about = {"search": {name: [*values] for name, values in found.items()}, "eta": eta, "trials": every}
        about = json.loads(json.dumps({**about, "seed": asked.seed}))
        old = world.tell(_begun(out, about) if world.first else None)
        trials, beside = _prepared(asked, every, world)
    _plan(grid.summary(found, every), trials, shares, say)
    with ExitStack() as stack:
        world.stop = world.stop or stack.enter_context(Stop())
        with world.agreed():
            if world.first and old is None:
                out.mkdir(parents=True, exist_ok=True)
                files.write(out / SEARCH, files.sealed(about))
            replace(trials[0].prepared, asked=asked).keep()
        if old is None or "found" not in old:
            _halve(trials, shares, world, say)
            with world.agreed():
                if world.first:
                    files.write(out / SEARCH, files.sealed(about | {"found": _found(trials, eta)}))
        with world.agreed():
            kept = world.tell(_begun(out, about)["found"] if world.first else None)  # type: ignore[index]
            best = trials[kept["best"]]
            home = out / f"seed-{asked.seed}"
            if world.first and best.run.path.is_dir() and not home.exists():
                os.rename(best.run.path, home)
                files.sync(out)
        _conclude(kept, best, home, asked, say)
        final = best.prepared.asked.but(out=out, seeds=asked.seeds)
        return replace(best.prepared, asked=final, beside=beside).several(search=kept)


def _prepared(asked: Asked, every: list[grid.Trial], world: World) -> tuple[list[Trial], Beside]:
    """Every trial before it begins: what one of them cannot do is told now.  Rows are read once, and the model is loaded once."""
    asked.files.check_apart()
    read = Rows.read(asked.files, asked.say)
    beside = Beside.of(read, asked.baseline, asked.against, asked.say)
    from bertsmith.training.processes import own_device

    read = taught_rows(read, asked, Path(asked.out))
    model = opened(asked.model, str(own_device(asked.device)), asked.members, asked.say)
    beside.check_dev(read.sources["dev"]["sha256"])
    warns = warnings_of(asked.say)
    shared = asked.but(model=model, baseline=False, against=None, seeds=1, say=warns)
    trials = []
    for number, values in enumerate(every):
        place = Path(asked.out) / TRIALS / f"trial-{number}"
        one = grid.tried(shared, values).but(out=place)
        with grid.within(grid.typed(values)):
            prepared = replace(Prepared.of(one, world, read=read, free=True), going=True)
        trials.append(Trial(number, values, prepared, prepared.steps))
    return trials, beside


def _halve(trials: list[Trial], shares: list[tuple[float, int]], world: World, say: Say) -> None:
    going = list(trials)
    for rung, (share, many) in enumerate(shares):
        going = sorted(
            sorted(going, key=lambda trial: trial.order, reverse=True)[:many], key=lambda trial: trial.number
        )
        for trial in going:
            if world.asked():
                name = world.caught.name  # type: ignore[union-attr]
                raise Interrupted(f"{name}: trial {trial.number} is not gone on with; {again()} goes on", world.caught)  # type: ignore[arg-type]
            _go_on(trial, rung, share, world)
            of = f"{trial.updates:,} of {amount(trial.of, 'update')}"
            scores = trial.stopped or _scores(trial)
            say(f"trial {trial.number} of {len(trials)} ({grid.said(trial.values)}): {of}: {scores}")
        if all(trial.stopped for trial in going):
            raise NumericsError(f"{option('search')}: none of the trials could be gone on with; {going[0].stopped}")
        if rung + 1 < len(shares):
            _leave(going, shares[rung + 1][1], world, say)


def _leave(going: list[Trial], many: int, world: World, say: Say) -> None:
    """Those that stay behind keep no weights."""
    order = sorted(going, key=lambda trial: trial.order, reverse=True)
    on = ", ".join(str(trial.number) for trial in sorted(order[:many], key=lambda trial: trial.number))
    say(f"search: {amount(many, 'trial goes', 'trials go')} on: {on}")
    if world.first:
        for trial in order[many:]:
            with files.writing(trial.run.path):
                remove(trial.run / STEPS)


def _go_on(trial: Trial, rung: int, share: float, world: World) -> None:
    """To the exam that a share of its updates lies behind, if it is not there; its standing there."""
    prepared, exam = trial.prepared, trial.prepared.exam
    until = pause_at(share, trial.of, exam)
    patience = prepared.options.patience
    there = world.tell(_exams(trial.run) if world.first else None)
    if not trial.stopped and not _reached(there, until, exam, patience):
        try:
            prepared.run(trial.run, prepared.asked.seed, share)
        except NumericsError as error:
            trial.stopped = str(error)
        there = world.tell(_exams(trial.run) if world.first else None)
    trial.rung = rung
    lines = [line for line in there if line["step"] <= until]
    if lines:
        trial.updates = lines[-1]["step"]
        best = max(lines, key=lambda line: (exam.rank(line["evaluation"]), -line["step"]))
        trial.rank, trial.dev = exam.rank(best["evaluation"]), best["evaluation"][exam.term]


def _exams(run: Tuned) -> list[dict]:
    """Lines of metrics.jsonl with an evaluation; one that is half-written is none."""
    try:
        whole = (run / METRICS).read_bytes().rpartition(b"\n")[0].splitlines()
    except FileNotFoundError:
        return []
    lines = (json.loads(line) for line in whole)
    return [{"step": line["step"], "evaluation": line["evaluation"]} for line in lines if "evaluation" in line]


def _reached(lines: list[dict], until: int, exam: Any, patience: int | None) -> bool:
    """Whether a trial stands at its pause or beyond, or ended because nothing was better for long."""
    if any(line["step"] >= until for line in lines):
        return True
    if not lines or patience is None:
        return False
    ranks = [exam.rank(line["evaluation"]) for line in lines]
    return len(ranks) - 1 - ranks.index(max(ranks)) >= patience


def _found(trials: list[Trial], eta: int) -> dict[str, Any]:
    order = sorted(trials, key=lambda trial: trial.order, reverse=True)
    best = order[0]
    return {
        "by": best.prepared.tuning.task.kind.best(best.prepared.tuning.task.known),
        "eta": eta,
        "best": best.number,
        "updates": sum(trial.updates for trial in trials),
        "alone": sum(trial.of for trial in trials),
        "trials": [trial.tree for trial in order],
    }


# -- what is said -------------------------------------------------------------------------------------------------------------------


def _plan(what: str, trials: list[Trial], shares: list[tuple[float, int]], say: Say) -> None:
    """How many updates it costs at most, beside one run."""
    one, before, cost = max(trial.of for trial in trials), [0] * len(trials), 0
    for share, many in shares:
        ends = [pause_at(share, trial.of, trial.prepared.exam) for trial in trials]
        cost += sum(sorted((end - start for end, start in zip(ends, before, strict=True)), reverse=True)[:many])
        before = ends
    after = ", ".join(f"{Fraction(share).limit_denominator(1000)} ({many})" for share, many in shares)
    say(f"search: {what}; shares of their updates, and how many trials make them: {after}")
    alone = sum(trial.of for trial in trials)
    say(
        f"search: {amount(cost, 'update')} at most, {cost / one:.1f} times one run ({one:,}); all trials to their ends would take {alone:,}"
    )
    if len(shares) > 1 and all(pause_at(shares[0][0], trial.of, trial.prepared.exam) == trial.of for trial in trials):
        say(
            "warning: every trial has its first score at its end, so that all are made in full; evaluations=4 scores four times an epoch"
        )


def _conclude(found: dict[str, Any], best: Trial, home: Path, asked: Asked, say: Say) -> None:
    dev = next(one for one in found["trials"] if one["trial"] == found["best"])["dev"]
    seeds = f"; {amount(asked.seeds, 'seed')} with these settings" if asked.seeds > 1 else ""
    say(
        f"search: the best is trial {best.number}, {grid.said(best.values)}: {found['by']} {dev[found['by']]:.4f}, "
        f"after {found['updates']:,} updates of {found['alone']:,}; kept in {printable(home)}{seeds}"
    )


def _scores(trial: Trial) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in trial.dev.items() if name != "count") or "no score"


def warnings_of(say: Say) -> Say:
    """Of what trials say, the warnings, once each: the rest stands in their log.txt."""
    told: set[str] = set()

    def only(line: str) -> None:
        if line.startswith("warning") and line not in told:
            told.add(line)
            say(line)

    return only


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _check_asked(asked: Asked) -> None:
    if asked.minutes is not None:
        raise InputError(
            f"{option('search')} with {option('minutes')}: trials are halved by their updates; use {option('epochs')} or {option('steps')}"
        )


def _check_out(out: Path, asked: Asked) -> None:
    """InputError unless OUT is free, or (resume) holds a search."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{printable(out)}: {option('out')} is no folder; choose another place")
    files.refuse_unless_replaceable(out, _ours, "search", force=False)
    inside = os.listdir(out) if out.is_dir() else []
    if SEARCH in inside and not asked.resume:
        raise InputError(f"{printable(out)}: {option('out')} holds a search already; {flag('resume')} goes on with it")
    if inside and SEARCH not in inside:
        raise InputError(f"{printable(out)}: {option('out')} holds a fine-tuning; choose another place")


def _begun(out: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """search.json; None where there is none.  InputError where it is about another search."""
    data = files.plain(out / SEARCH)
    if data is None:
        return None
    old = files.unsealed(data, out / SEARCH)
    for name, value in about.items():
        if old.get(name) != value:
            raise InputError(
                f"{printable(out)}: {flag('resume')}: {name}: the search was begun with {printable(json.dumps(old.get(name)), 80)}, "
                f"now it is {printable(json.dumps(value), 80)}; use the same, or another {option('out')}"
            )
    return old


def _ours(name: str) -> bool:
    own = (RESULT, SEARCH)
    return (
        name in (*own, TRIALS)
        or KEPT.fullmatch(name) is not None
        or any(name.startswith(f".{one}.tmp-") for one in own)
        or SEED.fullmatch(name) is not None
    )
