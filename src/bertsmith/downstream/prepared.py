"""A fine-tuning whose rows are read, whose model is loaded and whose options are decided: its runs, one for each seed, and what they say.

What cannot be done is refused while it is made, before anything is written; torch is loaded when what is cheap to refuse has been.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.downstream import several
from bertsmith.downstream.asked import (
    Asked,
    check_early,
    check_out,
    check_sliced,
    check_surgery,
    threads_of,
)
from bertsmith.downstream.based import plain
from bertsmith.downstream.beside import Beside
from bertsmith.downstream.grown import Decoder, with_decoder
from bertsmith.downstream.labelled_files import Rows, Say
from bertsmith.downstream.methods import method_of, staying
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.signed import with_marks
from bertsmith.downstream.task import Task
from bertsmith.downstream.teachers import keep, layers_of, taught
from bertsmith.downstream.tuned import RESULT, RESULT_FORMAT, Tuned
from bertsmith.downstream.tuning import FineTuning
from bertsmith.downstream.unseen import learned
from bertsmith.errors import InputError, Interrupted, printable
from bertsmith.spelling import again, amount, flag, option, setting
from bertsmith.tasks import breakdown, metrics
from bertsmith.tasks.kinds import KINDS
from bertsmith.training.budget import Budget, Extent
from bertsmith.training.distributed import World
from bertsmith.training.stop import Stop

if TYPE_CHECKING:
    from bertsmith.downstream.seeds import Tuning


@dataclass(frozen=True, kw_only=True)
class Prepared:
    asked: Asked
    world: World
    tuning: Tuning
    budget: Budget
    options: FineTuning
    read: Rows
    beside: Beside
    going: bool = False  # whether a run that has begun is gone on with, unasked

    @classmethod
    def of(cls, asked: Asked, world: World, read: Rows | None = None, free: bool = False) -> Prepared:
        """By all processes.  `read`: the rows, where they have been read; `free`: whether OUT may be written in is known."""
        with world.agreed():
            say, out, given, budget = asked.say, Path(asked.out), asked.files, asked.budget
            decoder = None if asked.decoder is None else str(asked.decoder)
            options, scratch = check_early(asked), asked.scratch
            way = method_of(asked.method).under(options)
            if world.size > 1:
                check_sliced(asked.shard, options)
            if world.first and not free:
                check_out(out, asked.seed, asked.seeds, asked.resume)
            given.check_apart()
            rows = read or Rows.read(given, say)
            beside = Beside.of(rows, asked.baseline, asked.against, say)
            beside.check_dev(rows.sources["dev"]["sha256"])
            from bertsmith.downstream.seeds import Tuning  # torch is loaded here, when what is cheap to refuse has been
            from bertsmith.training.processes import own_device

            rows = taught_rows(rows, asked, out)
            loaded = plain(opened(asked.model, str(own_device(asked.device)), asked.members, say, sound=True))
            if loaded.task is None and not scratch:
                loaded = _with_head(loaded, asked.task, rows, asked.members, say)
            way = staying(way, loaded.recipe.model, scratch)
            check_surgery(way, loaded)
            if not scratch and learned(loaded.config.get("data") or {}, rows.sources):
                say(
                    f"warning: {printable(loaded.run)} learned dev rows before, as its config.json says: scores on them are too good"
                )
            _check_sound(loaded, asked, given.kind)
            loaded = with_marks(loaded, getattr(given.kind, "marks", {}), way, say)
            grown = None if decoder is None else Decoder.of(decoder, asked.encoder, loaded, asked.members)
            if decoder is not None:
                loaded = replace(loaded, recipe=with_decoder(loaded.recipe, decoder))
            if given.kind.embeds:
                options = options.pooled(loaded.vectors.get("pool"))
            elif not way.still and not given.kind.writes:
                loaded = replace(loaded, recipe=loaded.recipe.for_task())
            given_epochs = options.epochs
            options = options.settled(way, loaded.recipe, given.kind.pools)
            loaded = replace(loaded, recipe=options.formed(loaded.recipe))
            inside = layers_of(asked.teacher, loaded, options, asked.members, say) if options.taught.epochs else None
            task = Task.encoded(given, rows, loaded.tokenizer, loaded.recipe, options, say)
            steps = task.feed(asked.seed).epoch(0).steps
            options = options.lasting(way, loaded.recipe.model.width, steps, bool(budget.given))
            task = replace(task, options=options)
            threads = asked.threads or world.tell(threads_of(out) if asked.resume and world.first else None)
            tuning = Tuning(loaded, task, options, way, scratch, world, say, threads, grown, inside)
        budget = budget if budget.given else Budget(epochs=given_epochs)
        made = cls(asked=asked, world=world, tuning=tuning, budget=budget, options=options, read=rows, beside=beside)
        if budget.minutes is None:
            options.check_taught(made.steps / steps)
        return made

    def keep(self) -> None:
        """What the teachers said, beside the runs."""
        if self.read.soft is not None and self.world.first:
            keep(self.read.soft, self.out)

    @property
    def out(self) -> Path:
        return Path(self.asked.out)

    @property
    def steps(self) -> int:
        """Updates of a run, where minutes do not decide."""
        feed = self.tuning.task.feed(self.asked.seed)
        budget = self.budget if self.budget.given else Budget(epochs=self.options.epochs)
        steps = budget.in_steps(Extent.of(feed), feed)
        assert steps is not None
        return steps

    @cached_property
    def exam(self) -> Any:
        return self.tuning.exam(self.asked.seed, self.budget)

    def run(self, run: Tuned, seed: int, share: float = 1.0) -> dict[str, Any]:
        """What result.json says of one seed."""
        asked = self.asked
        how = {name: getattr(asked, name) for name in ("tensorboard", "shard", "progress")}
        how["resume"] = bool(run.named()) if self.going else asked.resume
        return self.tuning.run(run, seed, self.budget, asked.workers, share=share, **how)

    def result(self) -> dict[str, Any]:
        """Of one seed, whose run is OUT, or of several."""
        if self.asked.seeds > 1:
            return self.several()
        asked, run = self.asked, Tuned(self.out)
        self.keep()
        result = self.run(run, asked.seed)
        said = {asked.seed: self.tuning.said(run, result)} if self.beside.given else {}
        with self.world.agreed():
            result = kept(result | self.beside.measured(said, asked.members, asked.say), self.out, self.world)
        tell([result], result, self.options, asked.say)
        return result

    def several(self, **more: Any) -> dict[str, Any]:
        """Runs in OUT/seed-0, …; `more`: what result.json says besides."""
        asked, world = self.asked, self.world
        self.keep()
        numbers = range(asked.seed, asked.seed + asked.seeds)
        runs, results = each_seed(self.out, numbers, world, self.run)
        pairs = zip(runs, results, strict=True) if self.beside.given else ()
        said = {result["seed"]: self.tuning.said(run, result) for run, result in pairs}
        with world.agreed():
            found = over_seeds(results, asked.say) | more
            found = kept(found | self.beside.measured(said, asked.members, asked.say), self.out, world)
        best = next(r for r in results if r["seed"] == found["best_seed"])
        tell(results, best, self.options, asked.say)
        return found


def _check_sound(loaded: Loaded, asked: Asked, kind: Any) -> None:
    """InputError for what is asked of text alone, where the model reads sound."""
    if loaded.recipe.reads != "frames":
        if not getattr(kind, "texts", True):
            raise InputError(f"{option('task', kind.name)}: reads sound, and {printable(loaded.run)} reads text")
        return
    if not kind.hears:
        known = [name for name, each in KINDS.items() if each.hears]
        raise InputError(
            f"{option('task', kind.name)}: reads text, and {printable(loaded.run)} reads sound; {option('task', *known)} can"
        )
    if asked.baseline:
        raise InputError(f"{flag('baseline')}: counts words, and {printable(loaded.run)} reads sound; leave it out")


def _with_head(loaded: Loaded, task: str, rows: Rows, members: tuple[str, ...], say: Say) -> Loaded:
    """Of a run of several tasks the one whose head fits, if one does; else the trunk, which is said."""
    tasks, run = several.tasks_of(loaded.config), printable(loaded.run)
    asked = task, rows.known.names, rows.rows["train"].pairs, rows.sources["train"]["sha256"]
    found = several.fitting(loaded.config, *asked)
    if len(found) == 1:
        return plain(opened(Path(f"{loaded.path}:{found[0]}"), str(loaded.device), members, say, sound=True))
    if tasks:
        why = f"those of {' and '.join(found)} fit" if found else "none has this kind and these labels"
        way = f"; {run}:{found[0]} says which" if found else ""
        say(f"{run}: the head of none of its tasks goes on: {why}{way}")
    return loaded


def taught_rows(rows: Rows, asked: Asked, out: Path) -> Rows:
    """With what the teachers say, where there are any and it is not there."""
    if not asked.teacher or rows.soft is not None:
        return rows
    return replace(rows, soft=taught(asked.teacher, rows.rows["train"], rows.known, out, asked.members, asked.say))


def each_seed(
    out: Path, numbers: range, world: World, run_one: Callable[[Tuned, int], dict[str, Any]]
) -> tuple[list[Tuned], list[dict[str, Any]]]:
    """`run_one` in OUT/seed-N of each number; what is told to stop between two of them stops there."""
    runs, results = [], []
    with ExitStack() as stack:
        world.stop = world.stop or stack.enter_context(Stop())
        for number in numbers:
            if results and world.asked():  # it came when the seed before was done
                name = world.caught.name  # type: ignore[union-attr]
                raise Interrupted(f"{name}: seed {number} is not begun; {again()} goes on", world.caught)  # type: ignore[arg-type]
            run = Tuned(out / f"seed-{number}")
            run.results = (RESULT, f"../{RESULT}")
            results.append(run_one(run, number))
            runs.append(run)
    return runs, results


def over_seeds(results: list[dict], say: Say) -> dict[str, Any]:
    """What result.json says of several: the mean and spread of each score, and which seed is the best."""
    scores = {name: metrics.spread([r["dev"][name]["value"] for r in results]) for name in results[0]["dev"]}
    best = max(results, key=lambda r: (r["dev"][r["chosen_by"]]["value"], -r["seed"]))["seed"]
    result = {
        "format": RESULT_FORMAT,
        "kind": "finetune",
        "task": results[0]["task"],
        "seeds": [r["seed"] for r in results],
        "best_seed": best,
        "over_seeds": scores,
        "results": results,
    }
    for name, found in scores.items() if len(results) > 1 else ():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {amount(len(results), 'seed')}")
    return result


def kept(result: dict[str, Any], out: Path, world: World) -> dict[str, Any]:
    """`result` as result.json has it from now on: what earlier models were measured against stays while they are the same."""
    if not world.first:
        return world.tell()
    old = Tuned(out).result() or {}
    if old.get("results") == result.get("results"):
        result = {name: old[name] for name in ("baseline", "against") if name in old} | result
    result = json.loads(json.dumps(result))
    if old != result:
        files.write(out / RESULT, files.sealed(result))
    return world.tell(result)


def tell(results: list[dict], best: dict, options: FineTuning, say: Say) -> None:
    """Class by class (of several seeds the best one), and which seeds say one thing to all."""
    if "classes" in best:
        whose = f"seed {best['seed']}, " if len(results) > 1 else ""
        say(f"{whose}dev file, class by class:")
    for line in breakdown.lines(best):
        say(line)
    alike: dict[str, list[int]] = {}
    for result in results:
        if "says_only" in result:
            alike.setdefault(breakdown.alike(result["says_only"], result, "dev "), []).append(result["seed"])
    for line, which in alike.items():
        epochs = max(10, math.ceil(3 * best["epochs"][-1]["epoch"]))
        named = f"seed{'s' * (len(which) > 1)} {', '.join(map(str, which))} of {len(results)}: "
        whose = named if len(results) > 1 else ""
        advice = f"more updates ({option('epochs', epochs)}) or another rate ({setting('lr')}, it was {options.lr:g}) may help"
        say(f"warning: {whose}{line}; {advice}")
