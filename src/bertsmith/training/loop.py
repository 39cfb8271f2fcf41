"""Pre-training: `pretrain(recipe, data, out, steps=1000)` is what the command line calls."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith import __version__
from bertsmith.config import to_dict
from bertsmith.data.draw import hashed
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import Recipe
from bertsmith.training import budget
from bertsmith.training.distributed import TIMEOUT, World, own_device
from bertsmith.training.evaluate import fixed_batches_of
from bertsmith.training.log import Journal, check_tensorboard
from bertsmith.training.optim import warmup_steps
from bertsmith.training.precision import Precision
from bertsmith.training.run import FORMAT, Run, check_same, open_store, threads_set
from bertsmith.training.shard import SHARDS
from bertsmith.training.start import recipe_for, start_from
from bertsmith.training.step import compile_layers, memory_said
from bertsmith.training.stop import Stop
from bertsmith.training.trial import Trial
from bertsmith.training.updates import Progress, Updates, silent


def pretrain(
    recipe: Recipe | str,
    data: Any,
    out: str | Path,
    *,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    workers: int = 0,
    threads: int | None = None,
    device: str | None = None,
    resume: bool = False,
    from_: str | Path | None = None,
    new_heads: Iterable[str] = (),
    tensorboard: bool = False,
    shard: str = "ddp",
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pre-train `recipe` on the store `data` into the run folder `out`, for exactly one of `steps`, `tokens`, `minutes`.

    `from_`: a run, an import, a Hugging Face folder or hf:user/name to start from; a head that it lacks is fresh if `new_heads` names it.
    `resume` goes on from the newest step that verifies; same inputs, seed, device and threads give the same bytes, interrupted or not.
    `progress(step, steps, loss, tokens per second, seconds left)` is called after every update.
    Under torchrun all its processes call this and share the work: as copies of the member (`shard="ddp"`) or each with a slice of it
    ("fsdp"); process 0 alone speaks and writes.  `timeout`: seconds that one waits for the others before it gives up.
    Raises InputError before anything is written; ResourceError, NumericsError and Interrupted (after saving) while it trains.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        world = stack.enter_context(World.join(device, timeout))
        say, progress = (say, progress) if world.first else (silent, silent)
        run, journal = Run(out), Journal(say)
        with world.agreed():
            recipe = recipe_for(recipe, from_) if isinstance(recipe, str) else recipe
            place, store = own_device(device), open_store(data, journal.say)
            if shard not in SHARDS:
                raise InputError(f"--shard: {printable(repr(shard))} is not one of {', '.join(SHARDS)}")
            if tensorboard:
                check_tensorboard()
            old = world.tell(_found(run, store, resume) if world.first else None)
            if old and steps is tokens is minutes is None:
                steps = old["steps"]
            recipe = recipe.with_vocab(store.vocab.size)
            epoch = budget.Epoch.of(recipe, store, seed)
            budget.check_one(steps, tokens, minutes, epoch)
            size = parameters(recipe)
            budget.check_memory(recipe, size)
            if world.first:
                budget.check_disk(run.path, size, recipe.training.keep, len(run.steps()))
            threads = threads or (old or {}).get("threads") or torch.get_num_threads()
            config = _config(recipe, store, epoch, place, seed, steps, tokens, minutes)
            config |= {"threads": threads, "processes": world.size, "shard": shard if world.size > 1 else None}
            same = {name: config[name] for name in ("recipe", "budget", "seed", "shard")}
            same |= {"data": store.digest, "bertsmith": __version__, "torch": torch.__version__}
        world.check_same(same)
        world.stop = world.stop or stack.enter_context(Stop())
        precision = Precision.choose(recipe.training.precision, place)
        stack.enter_context(threads_set(world.tell(threads)))
        stack.enter_context(precision.policy())
        stack.enter_context(torch.random.fork_rng(devices=[place] if place.type == "cuda" else []))
        with world.agreed(), memory_said(recipe):
            torch.manual_seed(int(hashed(seed, "weights")[0]))
            member = build(recipe).to(place)
            if world.first and from_ is not None:
                config["from"] = start_from(from_, member, recipe, store, new_heads, journal.say)
            elif old:
                config["from"] = old.get("from")
            if world.first and old:
                _go_on(run, old, config, journal)
            config = world.tell(config)
        if recipe.training.compile:
            compile_layers(member)
        precision = Precision.choose(config["precision"], place)
        _expect(journal, recipe, store, epoch, size, precision, config)
        held = _held_out_batches(recipe, store, journal)
        if config["steps"] is None:
            trial = Trial(recipe, store, member, held, precision, seed, workers, world, shard)
            config["steps"] = trial.steps(60 * minutes, begun)
            warmup_steps(recipe.schedule, config["steps"])
            journal.say(f"{trial.step_seconds:.3g} s an update: {minutes:g} minutes are {config['steps']} steps")
        warmup_steps(recipe.schedule, config["steps"])
        journal.say(_length(config["steps"], epoch, recipe))
        with world.agreed():
            if world.first:
                stack.enter_context(run.locked())
                if _found(run, store, resume) != old:  # looked at again, now that nobody else writes there
                    raise InputError(
                        f"{printable(run.path)}: --resume: another process wrote here meanwhile; try again"
                    )
        work = Updates(run, recipe, store, member, held, precision, config, journal, world, progress)
        return work.go(workers, old, tensorboard)


def _found(run: Run, store: Any, resume: bool) -> dict | None:
    """config.json of the run to go on with; None where it begins.  InputError unless a run may be written there."""
    _check_out(run, store, resume)
    return run.begun() if resume else None  # a run killed before its first saved step begins again


def _config(
    recipe: Recipe,
    store: Any,
    epoch: budget.Epoch,
    place: torch.device,
    seed: int,
    steps: int | None,
    tokens: int | None,
    minutes: float | None,
) -> dict:
    return {
        "format": FORMAT,
        "kind": "pretrain",
        "recipe": to_dict(recipe),
        "data": {
            "path": str(store.path),
            "digest": store.digest,
            "tokenizer": store.tokenizer.digest,
            "vocab": asdict(store.vocab),
        },
        "budget": {"steps": steps, "tokens": tokens, "minutes": minutes},
        "steps": _steps(steps, tokens, epoch),
        "seed": seed,
        "from": None,
        "device": _device_name(place),
        "precision": Precision.choose(recipe.training.precision, place).compute,
        "versions": {
            "bertsmith": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _check_out(run: Run, store: Any, resume: bool) -> None:
    run.check_free(resume)
    ours, theirs = run.path.resolve(), Path(store.path).resolve()
    if ours == theirs or theirs in ours.parents:
        raise InputError(f"{printable(run.path)}: --out lies in the store; choose another place")


def _steps(steps: int | None, tokens: int | None, epoch: budget.Epoch) -> int | None:
    """None where minutes decide."""
    if tokens is not None:
        return max(1, round(tokens / epoch.per_step))
    return None if steps is None else int(steps)


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def _go_on(run: Run, old: dict, config: dict, journal: Journal) -> None:
    """Reconcile the run's config.json with what is asked now; `config` is changed to what the resumed run goes by."""
    changed = check_same(run, old, config)
    if config["steps"] in (None, old["steps"]):
        if config["steps"] is None:
            journal.say(
                f"the run was fixed to {old['steps']} steps when it began; --minutes does not change that, --steps N does"
            )
        config["steps"], config["budget"] = old["steps"], old["budget"]
    else:
        changed.append(f"steps {old['steps']} -> {config['steps']}")
        journal.say(
            f"warning: steps {old['steps']} -> {config['steps']}: the schedule depends on them, so from here on rates differ from a run of either length"
        )
    if any(field.startswith("training.accumulate") for field in changed):
        journal.say(
            "warning: training.accumulate has changed: what is learned stays the same up to rounding, not bit for bit"
        )
    config["precision"] = old["precision"]
    alone = {"processes": 1, "shard": None}  # what a run from before there were any had
    for name in ("threads", "device", "processes", "shard"):
        was = old.get(name, alone.get(name))
        if was != config[name] and not (name == "shard" and None in (was, config[name])):
            journal.say(f"warning: {name}: was {was}, is {config[name]}: the losses go on, but not bit for bit")
    if old["versions"]["torch"] != config["versions"]["torch"]:
        journal.say(
            f"warning: torch: was {old['versions']['torch']}, is {config['versions']['torch']}: the losses go on, but not bit for bit"
        )
    if changed:
        journal.say(f"changed since the run began: {'; '.join(changed)}")


def _expect(
    journal: Journal,
    recipe: Recipe,
    store: Any,
    epoch: budget.Epoch,
    size: int,
    precision: Precision,
    config: dict,
) -> None:
    entropy = store.unigram_entropy()
    journal.say(
        f"unigram entropy of this corpus: {entropy:.4f} nats (perplexity {math.exp(entropy):,.1f}); the token loss falls to this plateau, waits, "
        "and leaves it once the model has learned more than frequencies"
    )
    many = f"{config['processes']} processes ({config['shard']}), each with " if config["processes"] > 1 else ""
    journal.say(
        f"{recipe.name}: {size:,} parameters; {config['device']}, {many}{config['threads']} threads; {precision}"
    )
    tokens = f"{epoch.tokens:,} tokens in {epoch.sequences:,} sequences of up to {epoch.longest}"
    journal.say(f"{tokens} an epoch; {epoch.per_step:,.0f} tokens an update, {epoch.steps} updates an epoch")


def _length(steps: int, epoch: budget.Epoch, recipe: Recipe) -> str:
    total = steps * epoch.per_step
    warm = warmup_steps(recipe.schedule, steps)
    return f"{steps} steps, {total:,.0f} tokens, {total / epoch.tokens:.2f} epochs; warm-up over {warm}"


def _held_out_batches(recipe: Recipe, store: Any, journal: Journal) -> list:
    try:
        held = fixed_batches_of(recipe, store)
    except InputError as error:
        journal.say(f"warning: no held-out evaluation: {error}")
        return []
    if not held:
        journal.say(
            "warning: no held-out evaluation: the store has no held-out documents; prepare --holdout sets some aside"
        )
    return held
