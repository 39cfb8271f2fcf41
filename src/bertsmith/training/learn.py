"""`learn(job)`: the one way from a job to a run.  What must hold is checked, in this order, before anything is written."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from bertsmith import __version__
from bertsmith.config import to_dict
from bertsmith.data.draw import hashed
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.drawn import without_memory
from bertsmith.nn.modules.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, flag, option
from bertsmith.training import budget, online
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.distributed import World
from bertsmith.training.job import Job, Progress, fresh, silent
from bertsmith.training.log import Journal
from bertsmith.training.optim import freeze, warmup_steps
from bertsmith.training.precision import Precision, threads_set
from bertsmith.training.run import FORMAT, at, check_same
from bertsmith.training.saving import learned_alone
from bertsmith.training.stages import layers_said, unreached
from bertsmith.training.step import compile_layers, memory_said
from bertsmith.training.stop import Stop
from bertsmith.training.trial import Trial
from bertsmith.training.updates import Updates


def learn(
    job: Job,
    world: World,
    journal: Journal,
    place: torch.device,
    asked: Budget,
    *,
    options: tuple[str, ...] = ("steps", "tokens", "minutes"),
    default: Budget | None = None,
    threads: int | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    shard: str = "ddp",
    progress: Progress = silent,
    expect: Callable[[Extent, int], None] = silent,
    begun: float | None = None,
) -> dict[str, Any]:
    """Carry out a job, by all processes of `world` together; what `Updates.go` says of it.

    `asked`: how long; `options`: which of its fields the command has; `default`: where none is asked for and nothing begun.  `expect` is told of one epoch, and how many steps
    there will be, for what a user should know of this kind of run; `begun`: since when `--minutes` count.  InputError before anything is written.
    """
    begun = time.monotonic() if begun is None else begun
    run, recipe = job.run, job.recipe
    with ExitStack() as stack:
        with world.agreed():
            old = world.tell(_found(job, resume) if world.first else None)
            if not asked.given:
                asked = Budget(steps=old["steps"]) if old else default or asked
            extent = Extent.of(job.feed)
            asked.check(extent, options)
            online.check(recipe, world.size, place)
            size = parameters(recipe)
            learn = size if job.trained is None else job.trained
            share = world.share if shard == "fsdp" else 1
            budget.check_memory(recipe, int(size * share), int(learn * share))
            if world.first:
                held = (learn if job.alone else size) + learn * getattr(recipe.schedule.average, "copies", 0) // 3
                budget.check_disk(run.path, held, recipe.training.keep, len(run.steps()))
            threads = threads or (old or {}).get("threads") or torch.get_num_threads()
            config = _config(job, asked, extent, place)
            config |= {"threads": threads, "processes": world.size, "shard": shard if world.size > 1 else None}
            same = {name: config[name] for name in ("recipe", "budget", "seed", "shard")}
            same |= {"data": _seen(job), "bertsmith": __version__, "torch": torch.__version__}
        world.check_same(same)
        if world.stop is None:  # to the end of this run; a world of many has one to its own end
            world.stop = stack.enter_context(Stop())
            stack.callback(setattr, world, "stop", None)
        precision = Precision.choose(recipe.training.precision, place)
        stack.enter_context(threads_set(world.tell(threads)))
        stack.enter_context(precision.policy())
        stack.enter_context(torch.random.fork_rng(devices=[place] if place.type == "cuda" else []))
        with world.agreed(), memory_said(recipe):
            member = _member(job, place, old, config, journal)
            if world.first and old:
                _go_on(job, old, config, journal)
            config = world.tell(config)
        if recipe.training.compile:
            compile_layers(member)
        precision = Precision.choose(config["precision"], place)
        if resume and not old:
            journal.say(f"{flag('resume')}: nothing is saved in {printable(run.path)} yet; the run begins")
        _say_size(journal, recipe, extent, size, precision, config)
        if config["steps"] is None:
            trial = Trial(job, member, precision, world, shard)
            config["steps"] = trial.steps(60 * asked.minutes, begun)
            warmup_steps(recipe.schedule, config["steps"])
            journal.say(
                f"{trial.step_seconds:.3g} s an update: {amount(asked.minutes, 'minute is', 'minutes are', 'g')} {amount(config['steps'], 'step')}"
            )
        warmup_steps(recipe.schedule, config["steps"])
        for line in (*online.pays(recipe), *layers_said(recipe, config["steps"])):
            journal.say(line)
        if hasattr(job.feed, "lasts"):
            job.feed.lasts(config["steps"])
        expect(extent, config["steps"])
        journal.say(_length(config["steps"], extent, recipe, job.feed))
        for line in unreached(job.feed, config["steps"], extent):
            journal.say(line)
        with world.agreed():
            if world.first:
                stack.enter_context(run.locked())
                if _found(job, resume) != old:  # looked at again, now that nobody else writes there
                    raise InputError(
                        f"{printable(run.path)}: {flag('resume')}: another process wrote here meanwhile; try again"
                    )
        return Updates(job, member, precision, config, journal, world, progress).go(old, tensorboard)


def _member(job: Job, place: torch.device, old: dict | None, config: dict, journal: Journal) -> MemberModel:
    """Fresh weights by the seed, what it starts from in their place; parts that never learn are frozen."""
    seed = int(hashed(job.seed, "weights")[0])
    # What is cut in slices and starts from nothing gets its memory slice by slice (shard.py).
    sliced = config["shard"] == "fsdp" and job.start is fresh
    found = without_memory(partial(build, job.recipe), seed, place) if sliced else None
    torch.manual_seed(seed)
    if found is None:
        member = build(job.recipe).to(place)
    else:
        member, member.draws = found
    source = job.start(member, journal.say)
    config["from"] = source if source is not None else (old or {}).get("from")
    freeze(member, job.recipe.schedule)
    if job.alone:
        member.kept = learned_alone(member, job.recipe.schedule)
    _check_sliced(job.recipe, member, config["shard"])
    return member


WHOLE = ("lamb", "muon")  # optimisers that measure a matrix and its parts


def _check_sliced(recipe: Recipe, member: MemberModel, shard: str | None) -> None:
    schedule = recipe.schedule
    if shard == "fsdp" and any(hasattr(part, "learn_of") for part in member.modules()):
        raise InputError(
            f"{option('shard', 'fsdp')}: tables that learn row by row ({recipe.name}) are not sliced; {option('shard', 'ddp')}"
        )
    if shard == "fsdp" and schedule.average:
        raise InputError(f"schedule.average: weights in slices have no average yet; {option('shard', 'ddp')} has one")
    if shard == "fsdp" and schedule.optimizer in WHOLE:
        raise InputError(
            f"schedule.optimizer: {schedule.optimizer} looks at whole matrices, and slices of them are not these; {option('shard', 'ddp')} holds them"
        )
    moves = schedule.unfreeze or schedule.stages or any(group.begin or group.end for group in schedule.groups)
    if shard == "fsdp" and moves:
        raise InputError(
            f"schedule: parts that learn for some of the run only cannot be sliced; {option('shard', 'ddp')} can"
        )


def _found(job: Job, resume: bool) -> dict | None:
    """config.json of the run to go on with; None where it begins.  InputError unless a run may be written there."""
    job.run.check_free(resume)
    return job.run.begun() if resume else None  # a run killed before its first saved step begins again


def _seen(job: Job) -> list:
    """What all processes must have before them, besides the recipe."""
    return [at(job.kept, name) for name in job.same if name.startswith("data.")]


def _config(job: Job, asked: Budget, extent: Extent, place: torch.device) -> dict:
    versions = {
        "bertsmith": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        **online.engine(job.recipe),
    }
    given = {name: value for name, value in vars(asked).items() if value is not None or name != "epochs"}
    config = {
        "format": FORMAT,
        "recipe": to_dict(job.recipe),
        **job.kept,
        "budget": given,
        "steps": asked.in_steps(extent, job.feed),
        "seed": job.seed,
        "from": None,
        "device": _device_name(place),
        "precision": Precision.choose(job.recipe.training.precision, place).compute,
        "versions": {**job.kept.get("versions", {}), **versions},
    }
    return json.loads(json.dumps(config))  # as a resumed run will read it


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def _go_on(job: Job, old: dict, config: dict, journal: Journal) -> None:
    """Reconcile the run's config.json with what is asked now; `config` is changed to what the resumed run goes by."""
    changed = check_same(job.run, old, config, job.same)
    if config["steps"] in (None, old["steps"]):
        if config["steps"] is None:
            journal.say(
                f"the run was fixed to {amount(old['steps'], 'step')} when it began; {option('minutes')} does not change that, {option('steps', like='N')} does"
            )
        config["steps"], config["budget"] = old["steps"], old["budget"]
    else:
        changed.append(f"steps {old['steps']} -> {config['steps']}")
        journal.say(
            f"warning: steps {old['steps']} -> {config['steps']}: the schedule depends on them, so from here on rates differ from a run of either length"
        )
    for field in ("accumulate", "most"):
        if any(f"training.{field}" in change for change in changed):
            journal.say(
                f"warning: training.{field} has changed: what is learned stays the same up to rounding, not bit for bit"
            )
    config["precision"] = old["precision"]
    alone = {"processes": 1, "shard": None}  # what a run from before there were any had
    for name in ("threads", "device", "processes", "shard"):
        was = old.get(name, alone.get(name))
        if was != config[name] and not (name == "shard" and None in (was, config[name])):
            journal.say(f"warning: {name}: was {was}, is {config[name]}: the losses go on, but not bit for bit")
    for name in ("torch", *online.engine(job.recipe)):
        was, now = old["versions"].get(name), config["versions"][name]
        if was != now:
            journal.say(f"warning: {name}: was {was}, is {now}: the losses go on, but not bit for bit")
    if changed:
        journal.say(f"changed since the run began: {'; '.join(changed)}")


def _say_size(journal: Journal, recipe: Recipe, extent: Extent, size: int, precision: Precision, config: dict) -> None:
    many = (
        f"{amount(config['processes'], 'process', 'processes')} ({config['shard']}), each with "
        if config["processes"] > 1
        else ""
    )
    journal.say(
        f"{recipe.name}: {amount(size, 'parameter')}; {config['device']}, {many}{amount(config['threads'], 'thread')}; {precision}"
    )
    tokens = f"{amount(extent.tokens, 'token')} in {amount(extent.sequences, 'sequence')} of up to {extent.longest}"
    journal.say(
        f"{tokens} an epoch; {amount(extent.per_step, 'token', form=',.0f')} an update, {amount(extent.steps, 'update')} an epoch"
    )


def _length(steps: int, extent: Extent, recipe: Recipe, feed: Any) -> str:
    total = feed.total(steps) if hasattr(feed, "total") else steps * extent.per_step
    warm = warmup_steps(recipe.schedule, steps)
    return f"{amount(steps, 'step')}, {amount(total, 'token', form=',.0f')}, {amount(total / extent.tokens, 'epoch', form='.2f')}; warm-up over {warm}"
