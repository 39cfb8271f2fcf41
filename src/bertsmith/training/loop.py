"""Pre-training: `pretrain(recipe, data, out, steps=1000)` is what the command line calls."""

from __future__ import annotations

import copy
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.data.draw import hashed
from bertsmith.data.loader import Loader
from bertsmith.errors import InputError, Interrupted, ResourceError, printable
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import Recipe, find
from bertsmith.training import budget, checkpoint
from bertsmith.training.evaluate import fixed_batches_of, held_out
from bertsmith.training.log import Events, Journal, Metrics, check_tensorboard
from bertsmith.training.optim import build_optimizer, rate_at, restore_optimizer, set_rate, warmup_steps
from bertsmith.training.precision import Precision, choose_device
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Run, check_same, open_store, threads_set
from bertsmith.training.step import out_of_memory, train_step
from bertsmith.training.stop import Stop

TRIAL_STEPS, TRIAL_SECONDS = 8, 10.0  # what --minutes is measured on: so many steps, or so long
Progress = Callable[[int, int, float, float, float], None]


def silent(*_: Any) -> None:
    """Says nothing."""


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
    tensorboard: bool = False,
    say: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pre-train `recipe` on the store `data` into the run folder `out`, for exactly one of `steps`, `tokens`, `minutes`.

    `resume` goes on from the newest step that verifies; same inputs, seed, device and threads give the same bytes, interrupted or not.
    `progress(step, steps, loss, tokens per second, seconds left)` is called after every update.
    Raises InputError before anything is written; ResourceError, NumericsError and Interrupted (after saving) while it trains.
    """
    begun = time.monotonic()
    recipe = find(recipe) if isinstance(recipe, str) else recipe
    run, place, store = Run(out), choose_device(device), open_store(data)
    if tensorboard:
        check_tensorboard()
    _check_out(run, store, resume)
    old = run.config() if resume and run.steps() else None  # a run killed before its first saved step begins again
    if old and steps is tokens is minutes is None:
        steps = old["steps"]
    recipe = recipe.with_vocab(store.vocab.size)
    epoch = budget.Epoch.of(recipe, store, seed)
    budget.check_one(steps, tokens, minutes, epoch)
    size = parameters(recipe)
    budget.check_memory(recipe, size)
    budget.check_disk(run.path, size, recipe.training.keep, len(run.steps()))
    threads = threads or (old or {}).get("threads") or torch.get_num_threads()
    precision = Precision.choose(recipe.training.precision, place)
    journal = Journal(say)
    config = {
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
        "threads": threads,
        "device": _device_name(place),
        "precision": precision.compute,
        "versions": {
            "bertsmith": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        stack.enter_context(threads_set(threads))
        stack.enter_context(precision.policy())
        stack.enter_context(torch.random.fork_rng(devices=[place] if place.type == "cuda" else []))
        with _memory_said(recipe):
            torch.manual_seed(int(hashed(seed, "weights")[0]))
            member = build(recipe).to(place)
            if from_ is not None:
                config["from"] = _start_from(from_, member, store, journal)
            elif old:
                config["from"] = old.get("from")
        if old:
            _go_on(run, old, config, journal)
            precision = Precision.choose(config["precision"], place)
        _expect(journal, recipe, store, epoch, size, precision, threads, config)
        held = _held_out_batches(recipe, store, journal)
        if config["steps"] is None:
            trial = _Trial(recipe, store, member, held, precision, seed, workers)
            config["steps"] = trial.steps(60 * minutes, begun, stop)
            warmup_steps(recipe.schedule, config["steps"])
            journal.say(f"{trial.step_seconds:.3g} s an update: {minutes:g} minutes are {config['steps']} steps")
        warmup_steps(recipe.schedule, config["steps"])
        journal.say(_length(config["steps"], epoch, recipe))
        with run.locked():
            _check_out(run, store, resume)  # again, now that nobody else writes there
            work = _Training(run, recipe, store, member, held, precision, config, journal, stop, progress)
            return work.go(workers, old, tensorboard)


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


def _start_from(path: str | Path, member: torch.nn.Module, store: Any, journal: Journal) -> dict:
    """Other weights than fresh ones.  InputError unless that model has the store's tokenizer and this recipe's shapes."""
    weights, config, where = checkpoint.load_model(path)
    if config["data"]["tokenizer"] != store.tokenizer.digest:
        raise InputError(
            f"--from {printable(path)}: its tokenizer is not the store's; prepare the text again with --tokenizer {printable(where.parent.parent)}"
        )
    checkpoint.load_weights(member, weights, f"--from {path}")
    journal.say(f"starting from the weights of {where}")
    return {"step": where.name, "weights": files.sha256(where / checkpoint.MODEL)}


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
    for name in ("threads", "device"):
        if old[name] != config[name]:
            journal.say(f"warning: {name}: was {old[name]}, is {config[name]}: the losses go on, but not bit for bit")
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
    threads: int,
    config: dict,
) -> None:
    entropy = store.unigram_entropy()
    journal.say(
        f"unigram entropy of this corpus: {entropy:.4f} nats (perplexity {math.exp(entropy):,.1f}); the token loss falls to this plateau, waits, "
        "and leaves it once the model has learned more than frequencies"
    )
    journal.say(f"{recipe.name}: {size:,} parameters; {config['device']}, {threads} threads; {precision}")
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


def _loader(recipe: Recipe, store: Any, seed: int, workers: int, cursor: tuple[int, int] = (0, 0)) -> Loader:
    training = recipe.training
    return Loader(
        store.train,
        recipe.layout,
        recipe.corruption,
        store.vocab,
        seed=seed,
        batch=training.batch,
        accumulate=training.accumulate,
        cursor=cursor,
        workers=workers,
    )


@contextmanager
def _closing(loader: Any) -> Iterator[Any]:
    stream = iter(loader)
    try:
        yield stream
    finally:
        for part in (stream, loader):
            getattr(part, "close", silent)()


@contextmanager
def _memory_said(recipe: Recipe) -> Iterator[None]:
    """Running out of memory, wherever it happens, becomes one line that says what to set."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        now = recipe.training.accumulate
        raise ResourceError(
            f"out of memory; --set training.accumulate={2 * now} (now {now}) halves what a pass holds and learns the same; else a smaller model"
        ) from None


class _Trial:
    """How long an update takes, measured on the first batches with a copy of the model, so that the run itself is as if never tried."""

    def __init__(
        self, recipe: Recipe, store: Any, member: Any, held: list, precision: Precision, seed: int, workers: int
    ):
        self.recipe, self.held, self.precision, self.seed = recipe, held, precision, seed
        self.step_seconds = self.held_seconds = 0.0
        with _memory_said(recipe):
            self._member = copy.deepcopy(member)
        self._loader = lambda: _loader(recipe, store, seed, workers)

    def steps(self, seconds: float, begun: float, stop: Stop) -> int:
        """How many updates and evaluations fill what is left of `seconds` since `begun`; at least one."""
        self._measure(min(TRIAL_SECONDS, 0.1 * seconds), stop)
        every = self.recipe.training.evaluate
        left = seconds - (time.monotonic() - begun) - self.held_seconds
        return max(1, int(left / (self.step_seconds + (self.held_seconds / every if every else 0.0))))

    def _measure(self, limit: float, stop: Stop) -> None:
        optimizer = build_optimizer(self._member, self.recipe.schedule)
        set_rate(optimizer, 0.0)
        times: list[float] = []
        with _closing(self._loader()) as stream:
            while len(times) < 2 or (
                len(times) <= TRIAL_STEPS and sum(times) < limit
            ):  # the first warms up, and does not count
                start = time.monotonic()
                made = next(stream)
                clip = self.recipe.schedule.clip
                train_step(
                    self._member,
                    made.batches,
                    made.counts,
                    optimizer,
                    precision=self.precision,
                    clip=clip,
                    seed=self.seed,
                    step=1,
                )
                times.append(time.monotonic() - start)
                if stop.signal:
                    raise Interrupted(f"{stop.signal.name}: before the first step; nothing was written", stop.signal)
        self.step_seconds = float(np.mean(times[1:]))
        if self.held:
            start = time.monotonic()
            held_out(self._member, self.held[:1], self.precision)
            self.held_seconds = (time.monotonic() - start) * len(self.held)
        del self._member


class _Training:
    """A run at work: the member, its optimizer, its files, and where it stands."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        store: Any,
        member: Any,
        held: list,
        precision: Precision,
        config: dict,
        journal: Journal,
        stop: Stop,
        progress: Progress,
    ):
        self.run, self.recipe, self.store, self.member, self.held, self.precision = (
            run,
            recipe,
            store,
            member,
            held,
            precision,
        )
        self.config, self.journal, self.stop, self.progress = config, journal, stop, progress
        self.steps: int = config["steps"]
        self.state = checkpoint.State(step=0, tokens=0, cursor=(0, 0))
        self.last: dict[str, Any] = {}  # the newest line of metrics.jsonl
        self.evaluation: dict | None = None
        self.saved = 0

    def go(self, workers: int, old: dict | None, tensorboard: bool) -> dict[str, Any]:
        begun, run = time.monotonic(), self.run
        found = checkpoint.load_newest(run, self.journal.say) if old else None
        if found and found.state.step > self.steps:
            raise InputError(
                f"{printable(run.path)}: --resume: the run stands at step {found.state.step}, beyond --steps {self.steps}"
            )
        if found and found.state.step == self.steps and self._closed(found):
            self.journal.say(f"{run.path}: finished at step {self.steps} already; nothing to do")
            return self._result(begun)
        with files.writing(run.path):
            run.clean(everything=found is None)
        self._write_config(old)
        if found:
            self._restore(found)
        self.metrics = Metrics(run / METRICS, found.metrics if found else 0)
        with files.writing(run.path):
            (run / STEPS).mkdir(exist_ok=True)
            files.sync(run.path)
            files.sync(run.path.absolute().parent)
        self.journal.open(run)
        self.events = Events(run, tensorboard, self.state.step)
        try:
            with _memory_said(self.recipe):
                if found and found.state.pending:
                    self._evaluate_and_write(found.state.pending)
                self._train(workers)
        finally:
            self.metrics.close()
            self.journal.close()
            self.events.close()
        return self._result(begun)

    def _closed(self, found: checkpoint.Saved) -> bool:
        """Whether metrics.jsonl ends with the last step's line, which it does unless a signal cut the last evaluation short."""
        with open(self.run / METRICS, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        try:
            self.last = json.loads(lines[-1]) if lines and lines[-1].endswith(b"\n") else {}
        except ValueError:
            return False
        self.evaluation = self.last.get("evaluation")
        return self.last.get("step") == self.steps and sum(map(len, lines)) == found.metrics + (
            len(lines[-1]) if found.state.pending else 0
        )

    def _write_config(self, old: dict | None) -> None:
        """A resumed run keeps its config.json, byte for byte, unless something that may change did."""
        run = self.run
        if old:
            kept = ("recipe", "steps", "budget")
            if all(old[name] == self.config[name] for name in kept):
                return
            self.config = {**old, **{name: self.config[name] for name in kept}}
            self.config["previous"] = [*old.get("previous", []), files.sha256(run / CONFIG)]
        else:
            with files.writing(run / TOKENIZER):
                files.write(run / TOKENIZER, (Path(self.store.path) / TOKENIZER).read_bytes())
        files.write(run / CONFIG, files.sealed(self.config))

    def _restore(self, found: checkpoint.Saved) -> None:
        checkpoint.load_weights(self.member, found.weights, str(found.path))
        self.optimizer = self._optimizer()
        restore_optimizer(self.optimizer, self.member, found.optimizer, str(found.path))
        self.state, self.saved = found.state, found.state.step
        self.journal.say(f"going on from step {found.state.step}")
        for step in self.run.steps():
            if step > found.state.step:  # it did not verify, and is made again bit by bit
                checkpoint.remove(self.run.step(step))

    def _optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.member, self.recipe.schedule)

    def _train(self, workers: int) -> None:
        if self.state.step == 0:
            self.optimizer = self._optimizer()
        first, schedule = self.state.step, self.recipe.schedule
        begun, done = time.monotonic(), 0
        with _closing(_loader(self.recipe, self.store, self.config["seed"], workers, self.state.cursor)) as stream:
            while self.state.step < self.steps and not self.stop.asked():
                start, step = time.monotonic(), self.state.step + 1
                made = next(stream)
                rate = rate_at(schedule, step, self.steps)
                set_rate(self.optimizer, rate)
                outcome = train_step(
                    self.member,
                    made.batches,
                    made.counts,
                    self.optimizer,
                    precision=self.precision,
                    clip=schedule.clip,
                    seed=self.config["seed"],
                    step=step,
                )
                tokens = self.state.tokens + made.tokens
                self.state = checkpoint.State(
                    step=step, tokens=tokens, cursor=(int(made.cursor[0]), int(made.cursor[1]))
                )
                line = {
                    "step": step,
                    "loss": outcome.loss,
                    "lr": rate,
                    "grad_norm": outcome.grad_norm,
                    "tokens": tokens,
                    "terms": outcome.terms,
                }
                done += made.tokens
                self._report(
                    line, made.tokens / (time.monotonic() - start), done / (time.monotonic() - begun), begun, first
                )
                self._finish_step(line)
        if self.stop.signal:
            self._interrupted()

    def _report(self, line: dict, now: float, mean: float, begun: float, first: int) -> None:
        step = line["step"]
        left = (time.monotonic() - begun) / (step - first) * (self.steps - step)
        self.journal.speed(step=step, tokens_per_second=round(now, 1), mean=round(mean, 1))
        if step - first == min(3, self.steps - first):
            self.journal.say(f"{mean:,.0f} tokens/s: about {_duration(left)} to go")
        self.progress(step, self.steps, line["loss"], mean, left)

    def _finish_step(self, line: dict) -> None:
        training, step = self.recipe.training, line["step"]
        last = step == self.steps
        due = last or (training.evaluate and step % training.evaluate == 0)
        if not (self._evaluate_and_write(line) if due and self.held else self._write(line)):
            return  # a signal: the line waits in the saved state
        if last or step % training.checkpoint == 0:
            self._save()

    def _write(self, line: dict) -> bool:
        self.metrics.write(line)
        self.events.write(line)
        self.last = line
        return True

    def _evaluate_and_write(self, line: dict) -> bool:
        """False if a signal cut the evaluation short; the step is saved with its line, which the resumed run completes."""
        found = held_out(self.member, self.held, self.precision, self.stop.asked)
        if found is None:
            self.state = checkpoint.State(**{**asdict(self.state), "cursor": self.state.cursor, "pending": line})
            return False
        self.evaluation = {
            term: {key: value for key, value in means.items() if key != "count"} for term, means in found.items()
        }
        text = ", ".join(
            f"{term} {means['loss']:.4f} (accuracy {means['accuracy']:.1%})" for term, means in found.items()
        )
        self.journal.say(f"step {line['step']}: held-out {text}")
        return self._write({**line, "evaluation": self.evaluation})

    def _save(self) -> None:
        if self.saved == self.state.step:
            return
        environment = {name: self.config[name] for name in ("device", "threads", "precision", "versions")}
        metrics = self.metrics.sealed()
        checkpoint.save_step(
            self.run, self.state, self.member, self.optimizer, metrics, environment, self.recipe.training.keep
        )
        self.saved = self.state.step

    def _interrupted(self) -> None:
        name, number = self.stop.signal.name, self.stop.signal
        if self.state.step == 0:
            raise Interrupted(f"{name}: before the first step; nothing was saved", number)
        self._save()
        if self.state.step < self.steps or self.state.pending:
            where = self.run.step(self.state.step)
            raise Interrupted(f"{name}: saved {printable(where)}; the same command with --resume goes on", number)

    def _result(self, begun: float) -> dict[str, Any]:
        seconds = time.monotonic() - begun
        return {
            "run": str(self.run.path),
            "steps": self.steps,
            "tokens": self.last.get("tokens", 0),
            "loss": self.last.get("loss"),
            "evaluation": self.evaluation,
            "unigram_entropy": self.store.unigram_entropy(),
            "seconds": round(seconds, 3),
        }


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
