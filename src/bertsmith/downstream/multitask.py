"""`multitask`: one trunk and several tasks, each with a head of its own.

A MODEL is tuned to the tasks of a file as `finetune` tunes it to one: its rates, lengths, seeds and results; the step with the best mean
of the dev scores is kept.  A recipe is trained on texts beside labelled tasks, as `pretrain` would (mixing.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bertsmith.config import Settings, assignments_of
from bertsmith.data.mixture import Annealed, Shares, check_names
from bertsmith.downstream import several
from bertsmith.downstream.asked import check_asked, check_device, check_out, check_reinit, check_surgery, threads_of
from bertsmith.downstream.based import plain
from bertsmith.downstream.labelled_files import Files, Rows, Say
from bertsmith.downstream.methods import Method, check_settings, method_of
from bertsmith.downstream.model import Loaded, body_of, check_model, check_saved, opened
from bertsmith.downstream.prepared import each_seed, kept, over_seeds
from bertsmith.downstream.task import Task
from bertsmith.downstream.tasks_file import OF_KINDS, Feeds, check_apart, read_tasks
from bertsmith.downstream.tuned import Tuned
from bertsmith.downstream.tuning import ALIASES, LENGTHS, FineTuning, settings
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe
from bertsmith.spelling import option, setting
from bertsmith.tasks.kinds import Kind
from bertsmith.training.budget import Budget
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.job import Progress, check_options, silent
from bertsmith.training.run import open_store

NOT_HERE = ("auxiliary", "layers")


def multitask(
    recipe: Recipe | str | Path | Loaded,
    feeds: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    shares: Shares | str | None = None,
    each: Literal["one", "all"] | None = None,
    method: str = "full",
    scratch: bool = False,
    seeds: int = 1,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    seed: int = 0,
    allow_unknown: bool = False,
    set: Settings = (),
    from_: str | Path | None = None,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    members: tuple[str, ...] = (),
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tune a MODEL to several tasks at once, or train a recipe on texts beside tasks, into the run folder `out`.

    `feeds`: a file of tasks (tasks_file.py), or {name: a store, or `labelled_files.Files` of labelled rows}; `recipe`: the MODEL (a path or what
    `load` gave), whose tokenizer reads all.  Each step reads one of them, drawn by `shares` ("size" unless told otherwise, "equal",
    "annealed", or one of data/mixture.py), or all (`each="all"`).  All else is as in `finetune`; an epoch has the rows of all tasks, and a
    store's text, whose loss is that of the model's own pre-training, is read meanwhile.  Returns what result.json says: dev scores of each
    task with intervals, and their mean, by which the step is chosen.  `RUN:name` is one of the tasks, for `predict`, `evaluate`, `finetune`, ….

    With a recipe ("bert:mini", from the weights of `from_` where given) one feed at least is a store, whose tokenizer reads all; all stores
    share the recipe's own heads, and a task has one of its own.  Terms are `name.term`; `set` has options of the labelled tasks (batch,
    length, stride, dropout, pool); rates and lengths are the recipe's, everything else is as in `pretrain`, and an epoch has as many tokens
    as all feeds together.  InputError before anything is written.
    """
    asked = Budget(epochs=epochs, steps=steps, tokens=tokens, minutes=minutes)
    how = {"resume": resume, "tensorboard": tensorboard, "shard": shard, "progress": progress}
    if _of_recipe(recipe, feeds, from_):
        unlike = {"method": method != "full", "scratch": scratch, "seeds": seeds != 1, "allow_unknown": allow_unknown}
        if odd := next((name for name, given in unlike.items() if given), None):
            raise InputError(
                f"multitask: {option(odd)}: is for a MODEL that is tuned; {printable(recipe, 60)} is a recipe"
            )
        from bertsmith.downstream.mixing import mixed_run

        where = {
            "from_": from_,
            "workers": workers,
            "threads": threads,
            "device": device,
            "timeout": timeout,
            "say": say,
        }
        return mixed_run(
            recipe, feeds, out, shares=shares, each=each or "one", seed=seed, set=set, **asked.given, **where, **how
        )
    with World.join(device, timeout) as world:
        say, how["progress"] = (say, progress) if world.first else (silent, silent)
        with world.agreed():
            if from_ is not None:
                raise InputError(f"{option('from_')}: the weights are those of the MODEL that is tuned; leave it out")
            way = method_of(method)
            given = (_given(feeds) if isinstance(feeds, Mapping) else read_tasks(feeds)).with_shares(shares, each)
            options = _Settings.of(set, given)
            way = way.under(options.all, several=True)
            _check(given, way, options.all, scratch, seeds, shard, asked)
            check_options(shard, tensorboard)
            check_device(device)
            if world.first:
                check_out(Path(out), seed, seeds, resume, several=True)
            asked.check_given(LENGTHS)
            if not isinstance(recipe, Loaded):
                check_model(recipe)
                check_saved(recipe)
            body = body_of(recipe, members)
            for name, own in options.own.items() if body is not None else ():
                with given.about(name):
                    own.check_body(way, body)
            options.all.check_steps(asked.steps)
            check_apart(given)
            rows = {name: _rows(given, name, allow_unknown, say) for name in given.tasks}
            stores = {name: open_store(path, say) for name, path in given.texts.items()}
            from bertsmith.downstream.joint import Joint  # torch is loaded here, when what is cheap to refuse has been
            from bertsmith.training.processes import own_device

            loaded = plain(opened(recipe, str(own_device(device)), members, say))
            check_surgery(way, loaded)
            for name, store in stores.items():
                _check_text(given, name, store, loaded)
            if any(not files.kind.writes for files in given.tasks.values()):
                loaded = replace(loaded, recipe=loaded.recipe.for_task())
            base = options.all.settled(way, loaded.recipe)
            loaded = replace(loaded, recipe=base.formed(loaded.recipe))
            tasks = {}
            for name, files in given.tasks.items():
                own = options.own[name].settled(way, loaded.recipe, files.kind.pools)
                with given.about(name):
                    tasks[name] = Task.encoded(
                        rows[name][0], rows[name][1], loaded.tokenizer, loaded.recipe, own, _named(name, say)
                    )
            mean = sum(task.feed(seed).epoch(0).steps for task in tasks.values()) / len(tasks)
            base = base.lasting(way, loaded.recipe.model.width, mean, bool(asked.given))
            often = {"epochs": base.epochs, "evaluations": base.evaluations}
            tasks = {name: replace(task, options=replace(task.options, **often)) for name, task in tasks.items()}
            threads = threads or world.tell(threads_of(Path(out)) if resume and world.first else None)
            joint = Joint(loaded, given, tasks, stores, base, way, scratch, world, say, threads)
        asked = asked if asked.given else Budget(epochs=options.all.epochs)
        if seeds == 1:
            return joint.run(Tuned(out), seed, asked, workers, **how)
        run_one = lambda run, number: joint.run(run, number, asked, workers, **how)
        _, results = each_seed(Path(out), range(seed, seed + seeds), world, run_one)
        with world.agreed():
            return kept(over_seeds(results, say), Path(out), world)


# -- before anything is written -----------------------------------------------------------------------------------------------------


def _of_recipe(recipe: Any, feeds: Any, from_: Any) -> bool:
    """Whether it is no MODEL that is tuned: a file of tasks is for one."""
    if isinstance(feeds, (str, os.PathLike)) and not isinstance(recipe, Recipe):
        return False
    return isinstance(recipe, Recipe) or from_ is not None or not _is_model(recipe)


def _is_model(recipe: Any) -> bool:
    return not isinstance(recipe, str) or recipe.startswith("hf:") or os.path.isdir(recipe)


def _given(feeds: Mapping[str, Any]) -> Feeds:
    tasks = {name: files for name, files in feeds.items() if isinstance(files, Files)}
    if not tasks:
        raise InputError("multitask: feeds: holds no labelled_files.Files; a MODEL is tuned to labelled rows")
    texts = {name: store for name, store in feeds.items() if name not in tasks}
    check_names(feeds)
    return Feeds(names=tuple(feeds), tasks=tasks, texts=texts)


class _Settings:
    """`all`: of the run; `own`: of each task, where a setting that only other kinds have is passed over."""

    def __init__(self, every: FineTuning, own: dict[str, FineTuning]):
        self.all, self.own = every, own

    @classmethod
    def of(cls, given: Settings, feeds: Feeds) -> _Settings:
        """InputError for what no task has, and for what a tuning to several has not."""
        common = assignments_of(given)
        every = settings([one for one in common if _field(one) not in {*OF_KINDS, "pool"}])
        for name in NOT_HERE:
            if getattr(every, name) != getattr(FineTuning(), name):
                way = (
                    "a table with data = STORE reads text beside"
                    if name == "auxiliary"
                    else "a task by itself has them"
                )
                raise InputError(f"{setting(name)}: not with several tasks; {way}")
        used: set[str] = set()
        own = {}
        for name, files in feeds.tasks.items():
            with feeds.about(name):
                shared = [one for one in common if _has(files.kind, _field(one))]
                used |= {_field(one) for one in shared}
                own[name] = settings([*shared, *feeds.sets.get(name, ())])
                own[name].check_kind(files.kind)
        if lost := next((one for one in common if _field(one) not in used), None):
            settings([lost])  # what nobody knows is told there
            raise InputError(f"{setting(_field(lost))}: none of these tasks has it")
        return cls(every, own)


def _field(assignment: str) -> str:
    path = assignment.partition("=")[0]
    return ALIASES.get(path, path).partition(".")[0]


def _has(kind: Kind, name: str) -> bool:
    return name in kind.settings if name in OF_KINDS else name != "pool" or kind.pools


def _check(
    feeds: Feeds, way: Method, options: FineTuning, scratch: bool, seeds: int, shard: str, asked: Budget
) -> None:
    if way.still:
        raise InputError(
            f"{option('method', way.name)}: heads over a trunk that stays have nothing in common; `bertsmith finetune` learns each by itself"
        )
    check_settings(way, options, FineTuning())
    for name, files in feeds.tasks.items():
        with feeds.about(name):
            check_asked(files.task, way, scratch, seeds, shard)
            if files.kind.embeds:
                raise InputError(
                    f"{option('task', files.task)} compares the rows of an update, which a mixture has of many kinds; finetune learns it"
                )
    if isinstance(feeds.shares, Annealed) and asked.minutes is not None:
        raise InputError(
            f"{feeds.where}: shares: annealed ones go by epochs, and {option('minutes')} do not say how many; {option('epochs', like='N')} does"
        )
    feeds.shares.check(len(feeds.names))
    check_reinit(way, scratch, options.reinit)


def _rows(feeds: Feeds, name: str, allow_unknown: bool, say: Say) -> tuple[Files, Rows]:
    files = feeds.tasks[name]
    files = replace(files, allow_unknown=files.allow_unknown or allow_unknown)
    with feeds.about(name):
        return files, Rows.read(files, _named(name, say))


def _named(name: str, say: Say) -> Callable[[str], None]:
    """What is said of a task begins with its name."""

    def of_task(line: str) -> None:
        warning = "warning: " if line.startswith("warning: ") else ""
        say(f"{warning}{name}: {line.removeprefix(warning)}")

    return of_task


def _check_text(feeds: Feeds, name: str, store: Any, loaded: Loaded) -> None:
    """InputError for a store that the model cannot read, and for a model that nothing can be asked of text."""
    with feeds.about(name):
        if not several.of_text(loaded) or not loaded.recipe.objective.weights():
            raise InputError(
                f"data: {printable(loaded.run)} has no heads of a pre-training to go on with; take a model that was pre-trained, and not yet tuned"
            )
        if store.tokenizer.reading != loaded.tokenizer.reading:
            raise InputError(
                f"data: {printable(store.path)}: another tokenizer than {printable(loaded.run)} has; prepare it with {option('tokenizer', loaded.run)}"
            )
