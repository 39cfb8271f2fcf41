"""Fine-tuning: the member's trunk, a head for the task, BERT's schedule; the best step by the dev file is kept.

One seed: OUT is the run.  Several: OUT/seed-0, OUT/seed-1, … are runs, and OUT/result.json holds mean and spread; OUT as a MODEL is
the best of them.  A run is one like any other (training/learn.py), read from a labelled file: it resumes, and many processes share it.

`--method`: what learns (methods.py).  `--scratch`: fresh weights.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import Settings
from bertsmith.downstream.based import plain
from bertsmith.downstream.beside import Beside
from bertsmith.downstream.grown import Decoder, check_encoder, check_way, with_decoder
from bertsmith.downstream.methods import Method, check_settings, method_of
from bertsmith.downstream.model import Loaded, check_model, opened
from bertsmith.downstream.task import Files, OnBadAnswer, Rows, Say, Task
from bertsmith.downstream.tuned import RESULT, RESULT_FORMAT, SEED, Tuned
from bertsmith.downstream.tuning import LENGTHS, FineTuning, settings
from bertsmith.errors import InputError, Interrupted, printable
from bertsmith.spelling import again, amount, flag, option, setting
from bertsmith.tasks import breakdown, kinds, metrics
from bertsmith.tasks.sequences import OnLong
from bertsmith.tasks.split import Fold
from bertsmith.training.budget import Budget
from bertsmith.training.distributed import TIMEOUT, World
from bertsmith.training.job import Progress, check_options, silent
from bertsmith.training.stop import Stop


def finetune(
    model: str | Path | Loaded,
    *,
    task: str,
    train: Any,
    dev: Any = None,
    folds: int | None = None,
    out: str | Path,
    columns: str | Mapping[str, str | int] | None = None,
    header: bool = True,
    encoding: str = "utf-8",
    labels: Iterable[str] = (),
    template: str | None = None,
    target: str | None = None,
    target_step: float | None = None,
    metric: str | None = None,
    decoder: str | Path | None = None,
    encoder: str = "given",
    method: str = "full",
    scratch: bool = False,
    seeds: int = 1,
    seed: int = 0,
    epochs: float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    on_long: OnLong | None = None,
    on_bad_answer: OnBadAnswer = "error",
    allow_unknown: bool = False,
    baseline: bool = False,
    against: str | Path | Loaded | None = None,
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
    """Tune `model` to `task` ("classify", "multilabel", "ordinal", "regress", "choice", "tag", "qa", "text2text", "similarity", "retrieval"); returns
    what result.json says: dev scores with intervals, mean and spread over seeds.


    `train`, `dev`: files, or rows: a list of dicts, a dict of columns, a pandas DataFrame (tasks/given.py); config.json has their number and
    the SHA-256 of what is read of them, which a resumed run must find again.  `dev` may be a share of the training rows, 0.1: drawn by
    class, with equal texts on one side, the same rows for every `seed`.  `folds` in its place cross-validates (downstream/folds.py).
    `encoding`: of the files, where it is not UTF-8.  `on_long`: None is truncate for texts as a whole, window where each token is read.  `labels`: all classes or tags there are, where the
    training file need not hold every one.  Of "text2text" `template` and `target` say what is read and written, columns in braces (None: text
    and label), `target_step` of which its numbers become multiples, `metric` which score chooses the step; `decoder` puts one beside
    an encoder, which else writes by filling masks: "fresh", a "copy" of it, "share" (itself), or another encoder; `encoder="fresh"` gives the
    encoder fresh weights beside a copy (downstream/grown.py).  `on_bad_answer`: "mend" or "skip" what does not stand where the training file of "qa" says, and spans within others of "tag".
    `method`: what learns: "full", "frozen", "mix", "adapter", "lora" or "bias" (downstream/methods.py); what is saved alone stands on `model`.
    `allow_unknown`: accept that more than 5 % of the tokens of a file are [UNK].  `baseline`: what TF-IDF with a linear model (of tags, the
    commonest tag of each word) reaches on the same rows, and `against`: another fine-tuning with the same dev file, each with the paired
    difference to this one.  How long: one of `epochs`, `steps`, `tokens`, `minutes`; none is as many epochs as suit the
    method.  Same inputs, seed, device and threads: same bytes, interrupted and gone on with (`resume`) or not.  Under torchrun all its
    processes call this and share the work (see `pretrain`).
    InputError before anything is written; NumericsError, ResourceError and Interrupted (after saving) while it trains.
    `progress(step, steps, loss, tokens per second, seconds left)` after every update.
    """
    every = {**locals()}
    if (dev is None) == (folds is None):
        said = f"{option('dev')} and {option('folds', folds)}: take one of the two" if folds is not None else ""
        raise InputError(said or f"{option('dev')}: a file, a share such as 0.1, or {option('folds', 5)} is wanted")
    given = Files(
        task=task,
        train=train,
        dev=dev if folds is None else Fold(0, folds),
        columns=columns,
        header=header,
        encoding=encoding,
        labels=(*labels,),
        on_long=on_long,
        on_bad_answer=on_bad_answer,
        allow_unknown=allow_unknown,
        template=template,
        target=target,
        target_step=target_step,
        metric=metric,
    )
    if folds is not None:
        from bertsmith.downstream.folds import cross_validated

        rest = {name: value for name, value in every.items() if name not in (*given.asked, "model", "dev", "folds")}
        return cross_validated(finetune, model, folds, given, **rest)
    asked = Budget(epochs=epochs, steps=steps, tokens=tokens, minutes=minutes)
    with World.join(device, timeout) as world:
        say, progress = (say, progress) if world.first else (silent, silent)
        with world.agreed():
            decoder = None if decoder is None else str(decoder)
            way = method_of(method)
            check_asked(task, way, scratch, seeds, shard, decoder, encoder)
            check_options(shard, tensorboard)
            options = settings(set)
            check_settings(way, options, FineTuning())
            _check_reinit(way, scratch, options.reinit)
            options.check_kind(given.kind)
            if world.first:
                _check_out(Path(out), seed, seeds, resume)
            given.check_apart()
            asked.check_given(LENGTHS)
            rows = Rows.read(given, say)
            if not isinstance(model, Loaded):
                check_model(model)
            beside = Beside.of(rows, baseline, against, say)
            from bertsmith.downstream.seeds import Tuning  # torch is loaded here, when what is cheap to refuse has been
            from bertsmith.training.processes import own_device

            loaded = plain(opened(model, str(own_device(device)), members, say))
            _check_surgery(way, loaded)
            grown = None if decoder is None else Decoder.of(decoder, encoder, loaded, members)
            if decoder is not None:
                loaded = replace(loaded, recipe=with_decoder(loaded.recipe, decoder))
            if given.kind.embeds:
                options = options.pooled((loaded.config.get("vectors") or {}).get("pool"))
            elif not way.still and not given.kind.writes:
                loaded = replace(loaded, recipe=loaded.recipe.for_task())
            given_epochs = options.epochs
            options = options.settled(way, loaded.recipe, given.kind.pools)
            loaded = replace(loaded, recipe=options.formed(loaded.recipe))
            read = Task.encoded(given, rows, loaded.tokenizer, loaded.recipe, options, say)
            steps = read.feed(seed).epoch(0).steps
            options = options.lasting(way, loaded.recipe.model.width, steps, bool(asked.given))
            read = replace(read, options=options)
            beside.check_dev(read.sources["dev"]["sha256"])
            threads = threads or world.tell(_threads(Path(out)) if resume and world.first else None)
            tuning = Tuning(loaded, read, options, way, scratch, world, say, threads, grown)
        asked = asked if asked.given else Budget(epochs=given_epochs)
        how = {"resume": resume, "tensorboard": tensorboard, "shard": shard, "progress": progress}
        if seeds == 1:
            run = Tuned(out)
            result = tuning.run(run, seed, asked, workers, **how)
            said = {seed: tuning.said(run, result)} if beside.given else {}
            with world.agreed():
                result = _kept(result | beside.measured(said, members, say), Path(out), world)
            _tell([result], result, options, say)
            return result
        results, runs = [], []
        with ExitStack() as stack:
            world.stop = world.stop or stack.enter_context(Stop())
            for number in range(seed, seed + seeds):
                if number > seed and world.asked():  # it came when the seed before was done
                    name = world.caught.name
                    raise Interrupted(f"{name}: seed {number} is not begun; {again()} goes on", world.caught)
                run = Tuned(Path(out) / f"seed-{number}")
                run.results = (RESULT, f"../{RESULT}")
                results.append(tuning.run(run, number, asked, workers, **how))
                runs.append(run)
        pairs = zip(runs, results, strict=True) if beside.given else ()
        said = {result["seed"]: tuning.said(run, result) for run, result in pairs}
        with world.agreed():
            found = _over_seeds(results, read, say)
            found = _kept(found | beside.measured(said, members, say), Path(out), world)
        best = next(r for r in results if r["seed"] == found["best_seed"])
        _tell(results, best, options, say)
        return found


def _over_seeds(results: list[dict], task: Task, say: Say) -> dict[str, Any]:
    scores = {name: metrics.spread([r["dev"][name]["value"] for r in results]) for name in results[0]["dev"]}
    chosen_by = task.kind.best(task.known)
    best = max(results, key=lambda r: (r["dev"][chosen_by]["value"], -r["seed"]))["seed"]
    result = {
        "format": RESULT_FORMAT,
        "kind": "finetune",
        "task": task.kind.name,
        "seeds": [r["seed"] for r in results],
        "best_seed": best,
        "over_seeds": scores,
        "results": results,
    }
    for name, found in scores.items():
        say(f"{name}: {found['mean']:.4f} ± {found['spread']:.4f} over {amount(len(results), 'seed')}")
    return result


def _kept(result: dict[str, Any], out: Path, world: World) -> dict[str, Any]:
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


def _tell(results: list[dict], best: dict, options: FineTuning, say: Say) -> None:
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


# -- before anything is written -----------------------------------------------------------------------------------------------------


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


def _check_reinit(way: Method, scratch: bool, reinit: int) -> None:
    if reinit and (scratch or way.learns is not None):
        other = flag("scratch") if scratch else option("method", way.name)
        raise InputError(
            f"{setting('reinit')} with {other}: fresh layers at the top of a trunk that was trained and learns; {option('method', 'full')} has one"
        )


def _check_surgery(way: Method, loaded: Loaded) -> None:
    if way.puts and loaded.recipe.surgery is not None:
        source = loaded.config.get("from") or {}
        raise InputError(
            f"{option('method', way.name)}: {printable(loaded.run)} has {type(loaded.recipe.surgery).__name__.lower()} already; "
            f"tune the model that it began with, {printable(source.get('path'))}"
        )


def _check_out(out: Path, seed: int, seeds: int, resume: bool) -> None:
    """InputError unless `out` is free, or holds what was never saved, or (resume) what is gone on with."""
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


def _threads(out: Path) -> int | None:
    """Of the run here, or of the first of several seeds: features of a frozen trunk are made with as many as before."""
    inside = sorted(filter(SEED.fullmatch, os.listdir(out))) if out.is_dir() else []
    begun = Tuned(out / inside[0] if inside else out).begun()
    return begun and begun["threads"]


def _of_seeds(name: str) -> bool:
    return name == RESULT or name.startswith(f".{RESULT}.tmp-") or SEED.fullmatch(name) is not None
