"""A run at work: update after update, evaluation, saving, and where it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from bertsmith.data.loader import Loader
from bertsmith.errors import Interrupted, printable
from bertsmith.nn.memory import memory_state, restore_memory
from bertsmith.recipe import Recipe
from bertsmith.training import checkpoint
from bertsmith.training.distributed import World
from bertsmith.training.evaluate import held_out
from bertsmith.training.log import Journal
from bertsmith.training.optim import build_optimizer, rate_at, restore_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.record import Elsewhere, Record
from bertsmith.training.run import Run
from bertsmith.training.shard import Shared
from bertsmith.training.step import memory_said, train_step

Progress = Callable[[int, int, float, float, float], None]


def silent(*_: Any) -> None:
    """Says nothing."""


def loader_of(
    recipe: Recipe, store: Any, seed: int, workers: int, world: World, cursor: tuple[int, int] = (0, 0)
) -> Loader:
    """This process's share of every step."""
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
        rank=world.rank,
        world=world.size,
        stop=world.asked,
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
    """A run at work: the member, its optimizer, its record, and where it stands.  Every process has one; all take the same steps."""

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
        world: World,
        progress: Progress,
    ):
        self.run, self.recipe, self.store, self.member = run, recipe, store, member
        self.held, self.precision, self.config = held, precision, config
        self.journal, self.world, self.progress = journal, world, progress
        keep = recipe.training.keep
        self.record = Record(run, config, store, journal, keep) if world.first else Elsewhere()
        self.steps: int = config["steps"]
        self.state = checkpoint.State(step=0, tokens=0, cursor=(0, 0))
        self.last: dict[str, Any] = {}  # the newest line of metrics.jsonl
        self.saved = 0

    def go(self, workers: int, old: dict | None, tensorboard: bool) -> dict[str, Any]:
        begun, world = time.monotonic(), self.world
        with world.agreed():
            stands = world.tell(self.record.stands() if old else None)
        if stands and stands["finished"]:
            self.last = stands["finished"]
            self.journal.say(f"{self.run.path}: finished at step {self.steps} already; nothing to do")
            return self._result(begun)
        self._restore(stands)
        with world.agreed():
            self.record.begin(old, tensorboard)
        try:
            with memory_said(self.recipe):
                if self.state.pending:
                    self._evaluate_and_write(self.state.pending)
                self._train(workers)
        finally:
            self.record.close()
        return self._result(begun)

    def _restore(self, stands: dict | None) -> None:
        """The member as all processes run it, and its optimizer: fresh, or as process 0 found them."""
        found, where = self.record.found, str(self.run.path)
        with self.world.agreed():
            if found:
                checkpoint.load_weights(self.member, found.weights, str(found.path))
        self.shared = Shared(self.member, self.world, self.config["shard"], self.recipe.training.accumulate)
        self.optimizer = build_optimizer(self.member, self.recipe.schedule)
        if stands:
            moments = found.optimizer if found else {}
            restore_optimizer(self.optimizer, self.member, moments, where, self.world)
            restore_memory(self.member, self.world.collect(found.memory if found else {}, self.precision.device))
            self.state = checkpoint.State(**{**stands["state"], "cursor": tuple(stands["state"]["cursor"])})
            self.saved = self.state.step
            self.journal.say(f"going on from step {self.state.step}")

    def _train(self, workers: int) -> None:
        first, schedule = self.state.step, self.recipe.schedule
        begun, done = time.monotonic(), 0
        loader = loader_of(self.recipe, self.store, self.config["seed"], workers, self.world, self.state.cursor)
        with closing(loader) as stream:
            while self.state.step < self.steps and not self.world.asked():
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
                    shared=self.shared,
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
        if self.world.caught:
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
        self.record.write(line)
        self.last = line
        return True

    def _evaluate_and_write(self, line: dict) -> bool:
        """False if a signal cut the evaluation short; the step is saved with its line, which the resumed run completes."""
        found = held_out(self.member, self.held, self.precision, self.world.asked, self.world)
        if found is None:
            self.state = checkpoint.State(**{**asdict(self.state), "cursor": self.state.cursor, "pending": line})
            return False
        evaluation = {
            term: {key: value for key, value in means.items() if key != "count"} for term, means in found.items()
        }
        text = ", ".join(
            f"{term} {means['loss']:.4f} (accuracy {means['accuracy']:.1%})" for term, means in found.items()
        )
        self.journal.say(f"step {line['step']}: held-out {text}")
        return self._write({**line, "evaluation": evaluation})

    def _save(self) -> None:
        if self.saved == self.state.step:
            return
        self.shared.settle()
        memory = self.world.collect(memory_state(self.member), self.precision.device)
        with self.world.agreed():
            self.record.save(self.state, self.member, self.optimizer, memory)
        self.saved = self.state.step

    def _interrupted(self) -> None:
        name, number = self.world.caught.name, self.world.caught
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
            "evaluation": self.last.get("evaluation"),
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
