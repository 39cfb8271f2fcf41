"""A run at work: update after update, exams, saving, and where it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bertsmith.errors import Interrupted, ResourceError, printable
from bertsmith.nn.modules.memory import memory_state, restore_memory
from bertsmith.spelling import again
from bertsmith.training import checkpoint
from bertsmith.training.average import average_of
from bertsmith.training.distributed import World
from bertsmith.training.exam import pause_at
from bertsmith.training.job import Job, Loss, Progress, silent
from bertsmith.training.log import Journal
from bertsmith.training.optim import build_optimizer, rate_at, restore_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.record import Elsewhere, Record
from bertsmith.training.saving import load_weights, weights_of
from bertsmith.training.shard import Shared
from bertsmith.training.step import memory_said, train_step


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
        job: Job,
        member: Any,
        precision: Precision,
        config: dict,
        journal: Journal,
        world: World,
        progress: Progress,
    ):
        self.job, self.run, self.recipe, self.member = job, job.run, job.recipe, member
        self.precision, self.config, self.journal, self.world, self.progress = (
            precision,
            config,
            journal,
            world,
            progress,
        )
        self.learner = job.learner(member)
        keep = job.recipe.training.keep
        self.record = (
            Record(job.run, config, job.tokenizer, journal, keep, job.patience, job.entities)
            if world.first
            else Elsewhere()
        )
        self.steps: int = config["steps"]
        self.end = pause_at(job.share, self.steps, job.exam)
        self.state = checkpoint.State(step=0, tokens=0, cursor=(0, 0))
        self.last: dict[str, Any] = {}  # the newest line of metrics.jsonl
        self.saved = 0

    def go(self, old: dict | None, tensorboard: bool) -> dict[str, Any]:
        """{run, steps, tokens, loss, evaluation, best: the step of the best exam, None where the newest is it, seconds}; `paused` where its job has a share and is there."""
        begun, world = time.monotonic(), self.world
        with world.agreed():
            stands = world.tell(self.record.stands() if old else None)
        if stands and stands["finished"]:
            self.last = stands["finished"]
            self.state = checkpoint.state_of(stands["state"])
            if self.state.pending:
                self._weigh(self.last)
            self.journal.say(f"{self.run.path}: finished at step {self.state.step} already; nothing to do")
            return self._result(begun)
        self._restore(stands)
        with world.agreed():
            self.record.begin(old, tensorboard)
        try:
            with memory_said(self.recipe):
                if self.state.pending and self._examine(self.state.pending):
                    self.state = replace(self.state, pending=None)
                    if not self._going:  # the step is whole now, and nothing else will save it
                        self.saved = 0
                        self._save()
                self._train()
            for said in self.job.outcome(self.last):
                self.journal.say(said)
        except (Interrupted, ResourceError):
            raise
        except Exception:
            if self.job.sound is not None:  # damaged text may be all that is wrong
                self.job.sound()
            raise
        finally:
            self.record.close()
        return self._result(begun)

    def _restore(self, stands: dict | None) -> None:
        """The member as all processes run it, and its optimizer: fresh, or as process 0 found them."""
        found, where = self.record.found, str(self.run.path)
        with self.world.agreed():
            if found:
                load_weights(self.member, found.weights, str(found.path), self.member.kept)
        without_memory = getattr(self.learner, "draws", None) is not None
        self.shared = Shared(self.learner, self.world, self.config["shard"])
        if stands and without_memory:  # what was loaded had no place to stay
            for name, tensor in weights_of(self.member).items():
                self.world.put(tensor.data, found.weights[name] if found else None)
        self.optimizer = build_optimizer(self.learner, self.recipe.schedule)
        self.average = average_of(self.learner, self.recipe.schedule)
        if stands:
            moments = found.optimizer if found else {}
            restore_optimizer(self.optimizer, self.learner, moments, where, self.world)
            self.average.restore(self.world.collect(found.averaged if found else {}, self.precision.device))
            restore_memory(self.member, self.world.collect(found.memory if found else {}, self.precision.device))
            self.state = checkpoint.state_of(stands["state"])
            self.saved = self.state.step
            self.journal.say(f"going on from step {self.state.step}")

    @property
    def _going(self) -> bool:
        return self.state.step < self.end and not self.state.ends(self.job.patience)

    @property
    def _paused(self) -> bool:
        return self.state.step < self.steps and not self.state.ends(self.job.patience)

    def _train(self) -> None:
        first, schedule = self.state.step, self.recipe.schedule
        begun, done = time.monotonic(), 0
        with closing(self.job.loader(self.world, self.state.cursor, first)) as stream:
            while self._going and not self.world.asked():
                start, step = time.monotonic(), self.state.step + 1
                made = next(stream, None)
                if made is None:  # a signal while the loader was waited for
                    break
                rate = rate_at(schedule, step, self.steps)
                set_rate(self.optimizer, rate, step, self.steps)
                if schedule.stages is not None:
                    self.member.objective.stage = schedule.stages.at(step, self.steps, self.recipe.model.layers)
                outcome = train_step(
                    self.learner,
                    made.batches,
                    made.counts,
                    self.optimizer,
                    precision=self.precision,
                    clip=schedule.clip,
                    seed=self.job.seed,
                    step=step,
                    shared=self.shared,
                    passes=made.passes,
                )
                self.average.updated(step)
                tokens = self.state.tokens + made.tokens
                self.state = replace(self.state, step=step, tokens=tokens, cursor=made.cursor, pending=None)
                line = {
                    "step": step,
                    "loss": outcome.loss,
                    "lr": rate,
                    "grad_norm": outcome.grad_norm,
                    "tokens": tokens,
                    "terms": outcome.terms,
                    **({"read": made.read} if made.read else {}),
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
        self.progress(step, self.steps, Loss(line["loss"], line["terms"]), mean, left)

    def _finish_step(self, line: dict) -> None:
        step, exam = line["step"], self.job.exam
        due = exam is not None and (step == self.steps or exam.due(step))
        if due:
            self.average.due()
        if not (self._examine(line) if due else self._write(line)):
            return  # a signal: the line waits in the saved state
        chosen = due and self.state.best is not None  # each step that may be the best is saved
        if step == self.steps or chosen or step % self.recipe.training.checkpoint == 0:
            self._save()

    def _write(self, line: dict) -> bool:
        self.record.write(line)
        self.last = line
        return True

    def _examine(self, line: dict) -> bool:
        """False if a signal cut the exam short; the step is saved with its line, which the resumed run completes."""
        exam = self.job.exam
        assert exam is not None  # a line waits for one
        with self.average.shown():
            found = exam.hold(self.member, self.precision, self.world, self.world.asked)
        if found is None:
            self.state = replace(self.state, pending=line)
            return False
        line = {**line, "evaluation": found}
        self.journal.say(exam.said(line))
        self._weigh(line)
        return self._write(line)

    def _weigh(self, line: dict) -> None:
        """Is this the best step so far, and is it time to end?"""
        exam, best = self.job.exam, self.state.best
        rank = exam and exam.rank(line["evaluation"])
        if not rank:
            return
        better = best is None or rank > best["rank"]
        best = {"step": line["step"], "rank": rank, "since": 0} if better else {**best, "since": best["since"] + 1}
        self.state = replace(self.state, best=best)
        if self.state.ends(self.job.patience) and line["step"] < self.steps:
            self.journal.say(
                f"step {line['step']}: {best['since']} exams since step {best['step']} and none better: this is the end"
            )

    def _save(self) -> None:
        if self.saved == self.state.step:
            return
        self._sound()
        self.shared.settle()
        memory = self.world.collect(memory_state(self.member), self.precision.device)
        averaged = self.average.state()
        with self.world.agreed(), self.average.shown():
            self.record.save(self.state, self.member, self.optimizer, memory, averaged)
        self.saved = self.state.step

    def _sound(self) -> None:
        """What was read so far is as it was written; InputError, on all processes, where it is not."""
        if self.job.sound is not None:
            with self.world.agreed():
                self.job.sound()

    def _interrupted(self) -> None:
        name, number = self.world.caught.name, self.world.caught
        if self.state.step == 0:
            raise Interrupted(f"{name}: before the first step; nothing was saved", number)
        self._save()
        if self._going or self.state.pending:
            where = self.run.step(self.state.step)
            raise Interrupted(f"{name}: saved {printable(where)}; {again()} goes on", number)

    def _result(self, begun: float) -> dict[str, Any]:
        seconds = time.monotonic() - begun
        return {
            "run": str(self.run.path),
            "steps": self.state.step,
            "tokens": self.last.get("tokens", 0),
            "loss": self.last.get("loss"),
            "evaluation": self.last.get("evaluation"),
            **({"paused": True} if self._paused else {}),
            **({"best": self.state.best["step"]} if self.state.best else {}),
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
