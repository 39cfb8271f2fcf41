"""`glue` and `clue`: every task of a benchmark whose official files are there, fine-tuned, scored as the benchmark scores it, and answered for
its server.

OUT/TASK is the run of each, as `finetune` makes it; OUT/files has copies of what could not be read as it lies; OUT/glue.json the scores and
OUT/submission.zip the answers to the test files.  All tasks are learned first (by all processes), then judged and answered (by the first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import Settings
from bertsmith.downstream.asked import check_asked, check_reinit
from bertsmith.downstream.benchmarked import ARCHIVE, benchmarked, facts, named
from bertsmith.downstream.finetune import finetune
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.methods import Method, check_settings, method_of
from bertsmith.downstream.model import Loaded, body_of, check_model, opened
from bertsmith.downstream.tuning import LENGTHS, FineTuning, settings
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option
from bertsmith.tasks import kinds, official
from bertsmith.tasks.benchmarks import CLUE, GLUE, Benchmark
from bertsmith.tasks.official import Present
from bertsmith.tasks.reading import OnLong
from bertsmith.training import launch
from bertsmith.training.budget import Budget
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.job import Progress, silent

COPIES = "files"
ABOUT = """Fine-tune `model` on every task of {name} whose official files lie in `folder`; returns what OUT/{kind}.json says.

    `tasks`: names of some ("rte,wnli" or a list); `plan`: say which would be run, with rows and updates, and do nothing.  Each task is a
    `finetune` of its own under `out`, with the options of that (lengths are those of each task); `resume` goes on with what is there.
    {{tasks: {{name: {{run, rows, left, seeds, scores: {{file: {{metric: score}}}}, score, human, lacks}}}}, mean, human, of, all, missing,
    archive}}, scores as shares of 1, each {{value, low, high}} with its 95 % interval over rows and seeds: the score of a task is the mean of its
    metrics, `mean` that of the tasks, `human` what people reach in the same ones.  InputError before anything is written, for files with
    other columns too.  Under torchrun all processes call this; those but the first return {{}}.
    """


def _verb(benchmark: Benchmark) -> Callable[..., dict[str, Any]]:
    """The verb of a benchmark, under its name."""

    def run(
        folder: str | Path,
        model: str | Path | Loaded,
        *,
        out: str | Path | None = None,
        tasks: Iterable[str] = (),
        plan: bool = False,
        method: str = "full",
        scratch: bool = False,
        seeds: int = 1,
        seed: int = 0,
        epochs: float | None = None,
        steps: int | None = None,
        tokens: int | None = None,
        minutes: float | None = None,
        on_long: OnLong | None = None,
        allow_unknown: bool = False,
        baseline: bool = False,
        set: Settings = (),
        device: str | None = None,
        threads: int | None = None,
        workers: int = 0,
        resume: bool = False,
        tensorboard: bool = False,
        shard: str = "ddp",
        timeout: float = TIMEOUT,
        members: tuple[str, ...] = (),
        say: Say = silent,
        progress: Progress = silent,
    ) -> dict[str, Any]:
        lengths = {"epochs": epochs, "steps": steps, "tokens": tokens, "minutes": minutes}
        asked = Budget(epochs=epochs, steps=steps, tokens=tokens, minutes=minutes)
        asked.check_given(LENGTHS)
        options, tasks = settings(set), (tasks,) if isinstance(tasks, str) else tuple(tasks)
        way = method_of(method).under(options)
        for task in benchmark.tasks:
            check_asked(task.kind, way, scratch, seeds, shard)
        check_settings(way, options, FineTuning())
        check_reinit(way, scratch, options.reinit)
        options.check_steps(steps)
        if not isinstance(model, Loaded):
            check_model(model)
        body = body_of(model, members)
        if body is not None:
            options.check_body(way, body)
        if plan:
            found, missing = official.present(Path(folder), benchmark, tasks)
            _check_kinds(found, options)
            loaded = opened(model, members=members, say=say)
            return _planned(found, missing, loaded, options, way, asked, seeds)
        if out is None:
            raise InputError(f"{option('out')} is wanted: the folder of the runs and the answers")
        out = Path(out)
        with World.join(device, timeout) as world, world.agreed():
            if world.first:
                _check_out(out, benchmark, resume)
            found, missing = official.present(Path(folder), benchmark, tasks)
            _check_kinds(found, options)
            say = say if world.first else silent
            _tell(benchmark, found, missing, say)
            found = [one.placed(out / COPIES / one.task.name, write=world.first) for one in found]
        how: dict[str, Any] = {"method": method, "scratch": scratch, "seeds": seeds, "seed": seed, **lengths}
        how |= {"on_long": on_long, "allow_unknown": allow_unknown, "baseline": baseline, "set": set, "device": device}
        how |= {"threads": threads, "workers": workers, "resume": resume, "tensorboard": tensorboard, "shard": shard}
        how |= {"timeout": timeout, "members": members, "progress": progress}
        for number, one in enumerate(found, 1):
            say(f"{one.task.name}: task {number} of {len(found)}")
            _learn(one, model, out / one.task.name, {**how, "say": named(one.task.name, say)})
        if launch.rank():
            return {}
        return benchmarked(benchmark, found, missing, model, out, device, members, say)

    run.__name__ = run.__qualname__ = benchmark.name.lower()
    run.__doc__ = ABOUT.format(name=benchmark.name, kind=benchmark.name.lower())
    return run


glue, clue = _verb(GLUE), _verb(CLUE)


def _learn(one: Present, model: Any, out: Path, how: Mapping[str, Any]) -> None:
    train, dev = one.train, one.devs[0]
    rows = {"train": train.path, "dev": dev.path, "columns": train.source.columns, "header": train.source.header}
    finetune(model, task=one.task.kind, labels=one.task.labels, out=out, **rows, **how)


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _check_kinds(found: Sequence[Present], options: FineTuning) -> None:
    """InputError for a setting that one of the tasks has not, before the first of them begins."""
    for one in found:
        try:
            options.check_kind(kinds.kind(one.task.kind))
        except InputError as error:
            raise InputError(f"{one.task.name}: {error}; {option('tasks')} names those that are run") from None


def _check_out(out: Path, benchmark: Benchmark, resume: bool) -> None:
    """InputError unless `out` is free, or holds such runs that are to be gone on with."""
    name = benchmark.name.lower()
    ours = {*(task.name for task in benchmark.tasks), f"{name}.json", ARCHIVE, COPIES}
    begun = tuple(f".{name}.tmp-" for name in ours)
    files.refuse_unless_replaceable(
        out, lambda name: name in ours or name.startswith(begun), f"{benchmark.name} run", force=False
    )
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{printable(out)}: {option('out')} holds a {benchmark.name} run already; {flag('resume')} goes on with it"
        )


def _tell(benchmark: Benchmark, found: Sequence[Present], missing: Mapping[str, str], say: Say) -> None:
    """What is left out, of tasks and of rows."""
    for name, why in missing.items():
        if why != official.UNASKED:
            say(f"{name} is left out: {why}")
    for name, why in benchmark.others.items():
        say(f"{name} is not run here: {why}")
    for one in found:
        for part in one.parts:
            for line in part.said():
                say(line)
        for what in one.lacks:
            say(f"{one.task.name}: {what}")


def _planned(
    found: Sequence[Present],
    missing: dict[str, str],
    loaded: Loaded,
    options: FineTuning,
    method: Method,
    asked: Budget,
    seeds: int,
) -> dict[str, Any]:
    """{tasks: {name: {rows, left, epochs, updates, lacks}}, seeds, updates, missing}; updates None where only time or texts tell."""
    tasks: dict[str, dict[str, Any]] = {}
    for one in found:
        steps = -(-one.train.rows // options.batch)
        settled = options.settled(method, loaded.recipe, kinds.kind(one.task.kind).pools)
        epochs = settled.lasting(method, loaded.recipe.model.width, steps, bool(asked.given)).epochs
        epochs = asked.epochs or (None if asked.given else epochs)
        updates = asked.steps if epochs is None else max(1, round(epochs * steps))
        tasks[one.task.name] = {**facts(one), "epochs": epochs, "updates": updates}
    each = [task["updates"] for task in tasks.values()]
    total = None if None in each else seeds * sum(each)
    return {"tasks": tasks, "seeds": seeds, "updates": total, "missing": missing}
