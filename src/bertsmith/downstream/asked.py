"""What a fine-tuning is asked for, and what is refused before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import Settings
from bertsmith.downstream.grown import check_encoder, check_way
from bertsmith.downstream.labelled_files import Files, OnBadAnswer, Say
from bertsmith.downstream.methods import Method, check_settings, method_of
from bertsmith.downstream.model import Loaded, body_of, check_model, check_saved, recipe_of
from bertsmith.downstream.several import KIND as SEVERAL
from bertsmith.downstream.signed import check_marks
from bertsmith.downstream.tuned import KEPT, RESULT, SEED, Tuned
from bertsmith.downstream.tuning import LENGTHS, FineTuning, settings
from bertsmith.errors import InputError, printable
from bertsmith.spelling import flag, option, setting
from bertsmith.tasks import kinds
from bertsmith.tasks.reading import OnLong
from bertsmith.tasks.split import Few
from bertsmith.training.budget import Budget
from bertsmith.training.job import Progress, check_options
from bertsmith.training.run import KINDS, holds


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call of `finetune`, whose arguments these are; `share`: of its updates after which a run pauses, at the exam that comes next; `few`: of the
    training rows, what a learning curve gives."""

    model: str | Path | Loaded
    task: str
    train: Any
    dev: Any
    out: str | Path
    columns: str | Mapping[str, str | int] | None
    header: bool
    encoding: str
    labels: tuple[str, ...]
    template: str | None
    target: str | None
    target_step: float | None
    metric: str | None
    decoder: str | Path | None
    encoder: str
    method: str
    scratch: bool
    seeds: int
    seed: int
    epochs: float | None
    steps: int | None
    tokens: int | None
    minutes: float | None
    teacher: tuple[Any, ...]
    on_long: OnLong | None
    on_bad_answer: OnBadAnswer
    allow_unknown: bool
    baseline: bool | str
    against: str | Path | Loaded | None
    set: Settings
    device: str | None
    threads: int | None
    workers: int
    resume: bool
    tensorboard: bool
    shard: str
    timeout: float
    members: tuple[str, ...]
    say: Say
    progress: Progress
    share: float = 1.0
    few: Few | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """Of all arguments of the verb those that every run has; rows that can be read once alone are read.

        InputError for columns, an encoding or options of writing that the task has not."""
        one = given["teacher"]
        teachers = () if one is None else (*one,) if isinstance(one, (list, tuple)) else (one,)
        made = cls(
            **{f.name: given[f.name] for f in fields(cls) if f.name in given}
            | {"labels": (*given["labels"],), "teacher": teachers}
        )
        rows = made.files
        return replace(made, train=rows.train, dev=rows.dev)

    def but(self, **changes: Any) -> Asked:
        return replace(self, **changes)

    @property
    def files(self) -> Files:
        own = {f.name for f in fields(Files)} & {f.name for f in fields(self)}
        return Files(**{name: getattr(self, name) for name in own})

    @property
    def budget(self) -> Budget:
        return Budget(epochs=self.epochs, steps=self.steps, tokens=self.tokens, minutes=self.minutes)

    @property
    def options(self) -> dict[str, Any]:
        """As `finetune` takes them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("share", "few")}


def check_early(asked: Asked) -> FineTuning:
    """Its settings.  InputError for what can be refused by what was asked for and by the model's configuration, before rows or weights are read."""
    options, kind = settings(asked.set), asked.files.kind
    way = method_of(asked.method).under(options)
    decoder = None if asked.decoder is None else str(asked.decoder)
    check_asked(asked.task, way, asked.scratch, asked.seeds, asked.shard, decoder, asked.encoder)
    check_options(asked.shard, asked.tensorboard)
    check_settings(way, options, FineTuning())
    check_reinit(way, asked.scratch, options.reinit)
    options.check_kind(kind)
    options.check_long(kind, asked.on_long)
    options.check_way(way, kind.pools)
    check_device(asked.device)
    options.check_teacher(bool(asked.teacher), kind)
    if asked.baseline and not kind.simple:
        have = ", ".join(name for name, other in kinds.KINDS.items() if other.simple)
        raise InputError(f"{flag('baseline')}: {option('task', kind.name)} has none; {have} have")
    if asked.baseline:
        kinds.simple_of(kind, asked.baseline)
    asked.budget.check_given(LENGTHS)
    options.check_steps(asked.steps)
    options.check_taught(asked.epochs or options.epochs)
    _check_sides(asked, kind)
    if not isinstance(asked.model, Loaded):
        check_model(asked.model)
        check_saved(asked.model)
    body, recipe = body_of(asked.model, asked.members), recipe_of(asked.model, asked.members)
    if body is not None:
        options.check_body(way, body)
    if recipe is not None:
        options.check_recipe(recipe)
    check_marks(asked.model, getattr(kind, "marks", {}), way)
    return options


def check_device(device: str | None) -> None:
    """InputError for one that is not there; torch is asked where it is not the CPU."""
    if device not in (None, "cpu"):
        from bertsmith.training.precision import choose_device

        choose_device(device)


def _check_sides(asked: Asked, kind: kinds.Kind) -> None:
    """InputError for another fine-tuning, to compare with or to learn of, that is none or of another task."""
    from bertsmith.downstream.compare import Side, check_same
    from bertsmith.downstream.teachers import labels_of

    side = None if asked.against is None else Side.of(asked.against)
    if side is not None and side.task is not None and side.task["kind"] != kind.name:
        check_same((side.name, side.task["kind"], ()), ("this fine-tuning", kind.name, ()))
    if asked.teacher:
        labels_of(asked.teacher, kind, load=False)


def check_asked(
    task: str,
    way: Method,
    scratch: bool,
    seeds: int,
    shard: str,
    decoder: str | None = None,
    encoder: str = "given",
) -> None:
    """InputError for what does not go together, whatever the files hold."""
    method = way.name
    kinds.kind(task)
    if decoder is not None:
        if not kinds.kind(task).writes:
            raise InputError(
                f"{option('decoder')}: {option('task', task)} writes nothing; {option('task', 'text2text')} does"
            )
        check_way(decoder)
        if way.learns is not None:
            raise InputError(
                f"{option('decoder')} with {option('method', method)}: what is new in it would hardly learn; use {option('method', 'full')}"
            )
    check_encoder(encoder, decoder, scratch)
    if kinds.kind(task).writes and way.still:
        raise InputError(
            f"{option('method', method)}: {option('task', task)} has no head beside the model's own; use {option('method', 'full')}"
        )
    if kinds.kind(task).embeds and way.still:
        raise InputError(
            f"{option('method', method)}: {option('task', task)} has no head, and nothing would learn; use {option('method', 'full')}"
        )
    if scratch and way.learns is not None:
        raise InputError(
            f"{flag('scratch')} with {option('method', method)}: a trunk of fresh weights that never learns; use {option('method', 'full')}"
        )
    if way.still and shard == "fsdp":
        raise InputError(
            f"{option('shard', 'fsdp')} with {option('method', method)}: only a head learns; {option('shard', 'ddp')}"
        )
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"{option('seeds', seeds)}: expected a number from 1")


def check_reinit(way: Method, scratch: bool, reinit: int) -> None:
    if reinit and (scratch or way.learns is not None):
        other = flag("scratch") if scratch else option("method", way.name)
        raise InputError(
            f"{setting('reinit')} with {other}: fresh layers at the top of a trunk that was trained and learns; {option('method', 'full')} has one"
        )


def check_sliced(shard: str, options: Any) -> None:
    """InputError for settings that many processes cannot have with weights in slices."""
    why = {"ema": "have no average yet", "last": "have no average yet", "unfreeze": "all learn from the start"}
    for name, they in why.items():
        if shard == "fsdp" and getattr(options, name):
            raise InputError(
                f"{option('shard', shard)} with {setting(name)}: weights in slices {they}; {option('shard', 'ddp')} takes it"
            )


def check_surgery(way: Method, loaded: Loaded) -> None:
    if getattr(loaded.recipe.surgery, "still", False):
        of = (loaded.config.get("source") or {}).get("path")
        raise InputError(
            f"{printable(loaded.run)}: its matrices are whole numbers of eight bits, which do not learn; tune the model that it was made of, "
            f"{printable(of)}, and compress that"
        )
    if way.puts and loaded.recipe.surgery is not None:
        source = loaded.config.get("from") or {}
        raise InputError(
            f"{option('method', way.name)}: {printable(loaded.run)} has {type(loaded.recipe.surgery).__name__.lower()} already; "
            f"tune the model that it began with, {printable(source.get('path'))}"
        )


def check_out(out: Path, seed: int, seeds: int, resume: bool, several: bool = False) -> None:
    """InputError unless `out` is free, or holds what was never saved, or (resume) what is gone on with.  `several`: a tuning to several tasks."""
    there = kind_in(out)
    if there and (there == SEVERAL) != several:
        what = "a tuning to several tasks" if there == SEVERAL else "a fine-tuning to one task"
        raise InputError(f"{printable(out)}: {option('out')} holds {what}; choose another place")
    inside = sorted(filter(SEED.fullmatch, os.listdir(out))) if out.is_dir() else []
    if inside and seeds == 1:
        raise InputError(f"{printable(out)}: {option('out')} holds fine-tunings of several seeds; choose another place")
    if not resume and os.path.lexists(out / RESULT):
        raise InputError(f"{printable(out)}: {option('out')} holds a fine-tuned model already; choose another place")
    if seeds == 1:
        return Tuned(out).check_free(resume)
    files.refuse_unless_replaceable(out, _of_seeds, "fine-tuning of several seeds", force=False)
    for name in inside:
        if int(name.removeprefix("seed-")) not in range(seed, seed + seeds):
            raise InputError(
                f"{printable(out / name)}: {option('seeds', seeds)} from {option('seed', seed)} has no such one; choose another place, or more seeds"
            )
        Tuned(out / name).check_free(resume)


def kind_in(out: Path) -> str:
    """The kind of task of the fine-tuning that stands there, of several seeds the first one's; "" where there is none."""
    for run in (out, *sorted(out.glob("seed-*"))[:1]):
        if holds(run) == KINDS["finetune"]:
            return str(((Tuned(run).config() or {}).get("task") or {}).get("kind") or "")
    return ""


def threads_of(out: Path) -> int | None:
    """Of the run here, or of the first of several seeds: features of a frozen trunk are made with as many as before."""
    inside = sorted(filter(SEED.fullmatch, os.listdir(out))) if out.is_dir() else []
    begun = Tuned(out / inside[0] if inside else out).begun()
    return begun and begun["threads"]


def _of_seeds(name: str) -> bool:
    return name == RESULT or name.startswith(f".{RESULT}.tmp-") or any(one.fullmatch(name) for one in (SEED, KEPT))
