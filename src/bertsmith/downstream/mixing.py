"""A recipe trained on several feeds at once: texts and labelled tasks over one trunk, each with its own heads and terms (`multitask`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from bertsmith.config import Settings, assignments_of, to_dict
from bertsmith.data.mixture import BySize, Curriculum, Mixture, Shares
from bertsmith.data.text import Text
from bertsmith.downstream.labelled_files import Files, Say
from bertsmith.downstream.methods import FULL, faster
from bertsmith.downstream.task import Task
from bertsmith.downstream.tuning import settings
from bertsmith.errors import InputError, printable
from bertsmith.nn.apart import module_of
from bertsmith.nn.modules.member import MemberModel
from bertsmith.objectives.mixed import Mixed, Part
from bertsmith.recipe import Recipe
from bertsmith.spelling import an, option
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.exam import Exam, Exams
from bertsmith.training.job import Job, Progress, check_options, fresh, silent
from bertsmith.training.learn import learn
from bertsmith.training.log import Journal
from bertsmith.training.pretraining import exam_of, said_of
from bertsmith.training.processes import own_device
from bertsmith.training.run import TOKENIZER, Run, open_store
from bertsmith.training.saving import load_weights
from bertsmith.training.start import recipe_for, rows_of, weights_from

SAME = ("data.tokenizer", "recipe", "seed", "from", "mixture")
CONTENT = ("digest", "train.sha256", "dev.sha256", "task")  # of a feed: what its files hold, and how rows are read
OPTIONS = (
    "batch",
    "length",
    "stride",
    "dropout",
    "pool",
    "smoothing",
    "target_length",
    "beam",
    "visibility",
    "mask_rate",
    "thresholds",
    "class_weights",
    "focal",
    "head",
)  # of fine-tuning that a task has; the rest is the recipe's


def mixed_run(
    recipe: Recipe | str,
    feeds: Mapping[str, Any],
    out: str | Path,
    *,
    shares: Shares | None = None,
    each: Literal["one", "all"] = "one",
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    seed: int = 0,
    set: Settings = (),
    from_: str | Path | None = None,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train one trunk on a mixture of `feeds`, {name: a store, or `labelled_files.Files` of labelled rows}, into the run folder `out`.

    Each step reads one of them, drawn by `shares` (in proportion to size unless told otherwise), or all (`each="all"`).  All stores share the
    recipe's own heads; a task has one of its own.  A recipe that reads several feeds reads all of them of its one store, in that one's place.  Terms are `name.term`.  The first store's tokenizer reads all; `set`: options of the
    labelled tasks (batch, length, stride, dropout, pool), as in fine-tuning; rates and lengths are the recipe's.  Everything else is as in `pretrain`; an epoch has as many tokens as all feeds together.
    InputError before anything is written.
    """
    begun = time.monotonic()
    with World.join(device, timeout) as world:
        say, progress = (say, progress) if world.first else (silent, silent)
        run, journal = Run(out), Journal(say)
        with world.agreed():
            _check_asked(feeds, shares, seed, workers)
            recipe = replace(recipe_for(recipe, from_) if isinstance(recipe, str) else recipe, brief=None)
            place = own_device(device)
            check_options(shard, tensorboard)
            if world.first:
                run.check_free(resume)
            stores = {name: open_store(given, say) for name, given in feeds.items() if not isinstance(given, Files)}
            rows = world.tell(rows_of(from_, run, resume) if world.first else None)
            recipe = recipe.with_vocab(_one_tokenizer(stores).vocab, rows)
            if any(isinstance(given, Files) and not given.kind.writes for given in feeds.values()):
                recipe = recipe.for_task()
            store, main = next(iter(stores.values())), recipe.alone()
            tasks = {
                name: _task(name, given, store.tokenizer, main, set, say)
                for name, given in feeds.items()
                if isinstance(given, Files)
            }
            texts = _texts(recipe, stores)
            names = [name for given in feeds for name in ([given] if given in tasks else texts[given])]
            read = {name: of for part in texts.values() for name, of in part.items()}
            mixture = Mixture(
                {n: Text.of(*read[n], seed) if n in read else tasks[n].feed(seed) for n in names},
                shares or _usual(recipe),
                seed=seed,
                each=each,
            )
            mixed = with_heads(replace(recipe, mixture=None), _objective(recipe, names, read, tasks))

            def start(member: MemberModel, say: Say) -> Any:
                return _start(from_, member, main, store, say) if world.first and from_ is not None else None

            exams = [
                tasks[name].exam(place, 1, feed=name) if name in tasks else exam_of(*read[name], journal, name)
                for name in names
            ]
            known: list[Exam] = [exam for exam in exams if exam is not None]
            about = {name: said_of(read[name][1]) if name in read else _said_of(tasks[name]) for name in names}
            vocab, digest = asdict(store.vocab), store.tokenizer.digest
            job = Job(
                run=run,
                recipe=mixed,
                feed=mixture,
                seed=seed,
                kept={
                    "kind": run.kind,
                    "data": {"tokenizer": digest, "vocab": vocab, "feeds": about},
                    "mixture": {"shares": to_dict(mixture.shares), "each": each},
                },
                same=(*SAME, *(f"data.feeds.{name}.{field}" for name in names for field in CONTENT)),
                tokenizer=(Path(store.path) / TOKENIZER).read_bytes(),
                exam=Exams(known, recipe.training.evaluate) if known else None,
                start=start if world.tell(from_ is not None) else fresh,
                workers=workers,
            )

        def expect(extent: Extent, steps: int) -> None:
            first = zip(names, mixture.shares.at(1, mixture.sizes).tolist(), strict=True)
            journal.say(f"mixture, at step 1: {', '.join(f'{name} {share:.4f}' for name, share in first)}")

        asked = Budget(steps=steps, tokens=tokens, minutes=minutes, epochs=epochs)
        options = {"threads": threads, "resume": resume, "tensorboard": tensorboard, "shard": shard, "begun": begun}
        return learn(job, world, journal, place, asked, progress=progress, expect=expect, **options)


def _check_asked(feeds: Any, shares: Any, seed: Any, workers: Any) -> None:
    if not isinstance(feeds, Mapping) or not feeds:
        raise InputError("multitask: feeds: expected {name: a store, or labelled_files.Files}")
    for name, given in feeds.items():
        if isinstance(given, (dict, list, tuple, int, float)) or given is None:
            raise InputError(
                f"multitask: {printable(name)}: {an(type(given).__name__)}, where a store or labelled_files.Files is expected"
            )
    if shares is not None and (isinstance(shares, type) or not hasattr(shares, "at")):
        raise InputError(
            f"multitask: shares: {printable(shares, 60)}: expected one of BySize(), Equal(), Weighted(…), Stages(…)"
        )
    for what, value in (("seed", seed), ("workers", workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InputError(f"multitask: {what}: {printable(value)} is not a whole number from 0")


def _one_tokenizer(stores: dict[str, Any]) -> Any:
    """The first store.  InputError where there is none, or another has another tokenizer."""
    if not stores:
        raise InputError("multitask: one of the feeds must be a store, whose tokenizer reads all of them")
    first, *rest = stores.values()
    for store in rest:
        if store.tokenizer.digest != first.tokenizer.digest:
            raise InputError(
                f"{printable(store.path)}: another tokenizer than {printable(first.path)} has; prepare it with {option('tokenizer', first.path)}"
            )
    return first


def _task(name: str, given: Files, tokenizer: Any, recipe: Recipe, assignments: Settings, say: Say) -> Task:
    given.check_apart()
    if given.kind.embeds:
        raise InputError(
            f"multitask: {printable(name)}: {option('task', given.task)} compares the rows of an update, which a mixture has of many kinds; finetune learns it"
        )
    assignments = assignments_of(assignments)
    for assignment in assignments:
        field = assignment.partition("=")[0]
        if field not in OPTIONS:
            raise InputError(
                f"multitask: set: {printable(field)}: is not a task's here ({', '.join(OPTIONS)}); set it in the recipe"
            )
    options = settings(assignments).settled(FULL, recipe, given.kind.pools)

    def of_task(line: str) -> None:
        warning = "warning: " if line.startswith("warning: ") else ""
        say(f"{warning}{name}: {line.removeprefix(warning)}")

    return Task.read(given, tokenizer, recipe, options, of_task)


def with_heads(recipe: Recipe, objective: Mixed) -> Recipe:
    """`recipe` with an objective of several feeds, whose heads may have parts that learn faster."""
    schedule = recipe.schedule
    found = (faster(part.objective, f"objective.{module_of(part.feed)}", schedule.lr) for part in objective.parts)
    groups = tuple(group for groups in found for group in groups)
    return replace(
        recipe, objective=objective, schedule=replace(schedule, groups=(*groups, *schedule.groups), stages=None)
    )


def _texts(recipe: Recipe, stores: dict[str, Any]) -> dict[str, dict[str, tuple[Recipe, Any]]]:
    """Of each store the feeds that are read of it: by name, the recipe that reads it and the store."""
    if recipe.mixture is None:
        return {name: {name: (recipe, store)} for name, store in stores.items()}
    if len(stores) > 1:
        raise InputError(
            f"multitask: {recipe.name} reads {', '.join(recipe.mixture.names)} of one store; name one, not {len(stores)}"
        )
    return {name: {feed: (alone, store) for feed, alone in recipe.feeds.items()} for name, store in stores.items()}


def _usual(recipe: Recipe) -> Shares:
    """A recipe's own stages, whatever is read beside; else in proportion to size."""
    own = getattr(recipe.mixture, "shares", None)
    return own if isinstance(own, Curriculum) else BySize()


def _objective(recipe: Recipe, names: list[str], texts: dict[str, Any], tasks: dict[str, Task]) -> Mixed:
    own = {part.feed: part for part in recipe.objective.parts} if recipe.mixture is not None else {}
    first, parts = next(iter(texts)), []
    for name in names:
        if name in own:
            parts.append(own[name])
            continue
        if name in tasks and tasks[name].shares_head:
            parts.append(Part(feed=name, of=first))
        elif name in tasks:
            parts.append(Part(feed=name, objective=tasks[name].objective(recipe.alone().objective)))
        else:
            parts.append(Part(feed=name, objective=recipe.objective) if name == first else Part(feed=name, of=first))
    return Mixed(parts=tuple(parts))


def _start(from_: Any, member: MemberModel, recipe: Recipe, store: Any, say: Say) -> dict[str, Any]:
    """The trunk, the heads that stores share where the model has them, and poolers; the others are fresh."""
    weights, source = weights_from(from_, recipe, store, say)
    trunk = {name.removeprefix("model."): x for name, x in weights.items() if name.startswith("model.")}
    load_weights(member.model, trunk, option("from_", from_))
    used = member.objective.inherit(weights)
    heads = ", ".join(dict.fromkeys(name.split(".")[1] for name in used)) or "no head"
    say(f"starting from the weights of {printable(from_)}: the trunk and {heads}")
    return source


def _said_of(task: Task) -> dict[str, Any]:
    kept = task.options.said()
    asked = {name: kept[name] for name in OPTIONS if name in kept}
    return {"task": {**task.about, "settings": asked}, **task.sources}
