"""How long an update takes, for `--minutes`."""

from __future__ import annotations

import copy
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from bertsmith.errors import Interrupted
from bertsmith.nn.member import build
from bertsmith.training.budget import Extent
from bertsmith.training.distributed import World
from bertsmith.training.job import Job, silent
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision, threads_set
from bertsmith.training.shard import Shared
from bertsmith.training.step import memory_said, train_step
from bertsmith.training.updates import closing

SHARE, LONGEST = 0.07, 30.0  # what --minutes are measured on: a share of them, and so many seconds at most
WINDOW, FEWEST = 8, 40  # updates that are looked at together; that are made before these say anything
SETTLED = 0.95  # of the time of the window before: an update that takes less is still getting faster


def seconds_of(job: Job, world: World, place: torch.device, threads: int | None, shard: str, limit: float) -> float:
    """Of an update of a job from fresh weights, by process 0's clock, measured in about `limit` seconds."""
    Extent.of(job.feed)  # says what cannot be used
    precision = Precision.choose(job.recipe.training.precision, place)
    with ExitStack() as stack:
        stack.enter_context(threads_set(world.tell(threads)))
        stack.enter_context(precision.policy())
        stack.enter_context(torch.random.fork_rng(devices=[place] if place.type == "cuda" else []))
        trial = Trial(job, build(job.recipe).to(place), precision, world, shard)
        trial.measure(min(LONGEST, limit))
    return world.tell(trial.step_seconds)


class Trial:
    """How long an update takes, measured on the first batches with a copy of the model, so that the run itself is as if never tried."""

    def __init__(self, job: Job, member: Any, precision: Precision, world: World, shard: str):
        self.job, self.precision, self.world, self.shard = job, precision, world, shard
        self.step_seconds = self.left_seconds = self.exam_seconds = 0.0
        with memory_said(job.recipe):
            self._member = copy.deepcopy(member)

    def steps(self, seconds: float, begun: float) -> int:
        """How many updates and exams fill what is left of `seconds` since `begun`, by process 0's clock; at least one."""
        self.measure(min(LONGEST, SHARE * seconds))
        every = self.job.exam.every if self.job.exam else 0
        left = seconds - (time.monotonic() - begun) - self.exam_seconds
        each = self.step_seconds + (self.exam_seconds / every if every else 0.0)
        updates, ramped = left / each, getattr(self.job.feed, "within", None)
        steps = int(updates) if ramped is None else ramped(updates, self.left_seconds / self.step_seconds)
        return self.world.tell(max(1, steps))

    def measure(self, limit: float) -> None:
        """`step_seconds` and `exam_seconds`, in about `limit` seconds: an update's once it has settled, and one exam's.  `left_seconds`: of one
        that a run begins with, where it reads from the left at first."""
        beginning: Any = getattr(self.job.feed, "beginning", silent)()
        each = limit if beginning is None else limit / 2
        self.step_seconds = self.left_seconds = self._paced(self.job, each)
        if beginning is not None:
            self.left_seconds = self._paced(replace(self.job, feed=beginning), each)
        if self.job.exam:
            self.exam_seconds = self.job.exam.seconds(self._member, self.precision, self.world)
        del self._member

    def _paced(self, job: Job, limit: float) -> float:
        """Seconds of an update of a job."""
        learner, schedule = job.learner(self._member), job.recipe.schedule
        shared = Shared(learner, self.world, self.shard)
        optimizer = build_optimizer(learner, schedule)
        set_rate(optimizer, 0.0, 1, 1)
        times: list[float] = []
        with closing(job.loader(self.world)) as stream:
            while self._more(times, limit):
                start = time.monotonic()
                made = next(stream, None)
                if made is None or self.world.caught:
                    number = self.world.caught
                    raise Interrupted(f"{number.name}: before the first step; nothing was written", number)
                train_step(
                    learner,
                    made.batches,
                    made.counts,
                    optimizer,
                    precision=self.precision,
                    clip=schedule.clip,
                    seed=job.seed,
                    step=1,
                    shared=shared,
                    passes=made.passes,
                )
                times.append(time.monotonic() - start)
        return pace(times)

    def _more(self, times: list[float], limit: float) -> bool:
        return self.world.tell(len(times) < 2 or (not settled(times) and sum(times) < limit))


def settled(times: list[float]) -> bool:
    """Whether the first updates, which a loader and caches begin with, are over: the newest WINDOW take as long as the one before."""
    newest, before = times[-WINDOW:], times[-2 * WINDOW : -WINDOW]
    return len(times) > FEWEST and median(newest) >= SETTLED * median(before)


def pace(times: list[float]) -> float:
    """Seconds of an update in training: the median of the newest WINDOW, of the later half where there are few; never the first one's."""
    return float(median(times[max(1, len(times) // 2, len(times) - WINDOW) :]))
