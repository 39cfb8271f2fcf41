"""A run at work: update after update, evaluation, saving, and where it stands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bertsmith import files
from bertsmith.data.loader import Loader
from bertsmith.errors import InputError, Interrupted, printable
from bertsmith.recipe import Recipe
from bertsmith.training import checkpoint
from bertsmith.training.evaluate import held_out
from bertsmith.training.log import Events, Journal, Metrics
from bertsmith.training.optim import build_optimizer, rate_at, restore_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.run import CONFIG, METRICS, STEPS, TOKENIZER, Run, remove
from bertsmith.training.step import memory_said, train_step
from bertsmith.training.stop import Stop

Progress = Callable[[int, int, float, float, float], None]


def silent(*_: Any) -> None:
    """Says nothing."""


def loader_of(
    recipe: Recipe, store: Any, seed: int, workers: int, stop: Stop, cursor: tuple[int, int] = (0, 0)
) -> Loader:
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
        stop=stop.asked,
    )


@contextmanager
def closing(loader: Any) -> Iterator[Any]:
    stream = iter(loader)
    try:
        yield stream
    finally:
        for part in (stream, loader):
            getattr(part, "close", silent)()


class Updates:
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
        self.events = Events(run, tensorboard, self.state.step, self.journal.say)
        try:
            with memory_said(self.recipe):
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
        with files.writing(self.run / STEPS):
            for step in self.run.named():
                if step > found.state.step:  # it did not verify, and is made again bit by bit
                    remove(self.run.step(step))
            checkpoint.prune(self.run, self.recipe.training.keep)  # it may be lower than when the steps were saved

    def _optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.member, self.recipe.schedule)

    def _train(self, workers: int) -> None:
        if self.state.step == 0:
            self.optimizer = self._optimizer()
        first, schedule = self.state.step, self.recipe.schedule
        begun, done = time.monotonic(), 0
        loader = loader_of(self.recipe, self.store, self.config["seed"], workers, self.stop, self.state.cursor)
        with closing(loader) as stream:
            while self.state.step < self.steps and not self.stop.asked():
                start, step = time.monotonic(), self.state.step + 1
                made = next(stream, None)
                if made is None:  # a signal while the loader was waited for
                    break
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
