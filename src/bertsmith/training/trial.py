"""How long an update takes, for `--minutes`."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from bertsmith.errors import Interrupted
from bertsmith.recipe import Recipe
from bertsmith.training.evaluate import held_out
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.step import memory_said, train_step
from bertsmith.training.stop import Stop
from bertsmith.training.updates import closing, loader_of

TRIAL_STEPS, TRIAL_SECONDS = 8, 10.0  # what --minutes is measured on: so many steps, or so long


class Trial:
    """How long an update takes, measured on the first batches with a copy of the model, so that the run itself is as if never tried."""

    def __init__(
        self, recipe: Recipe, store: Any, member: Any, held: list, precision: Precision, seed: int, workers: int
    ):
        self.recipe, self.held, self.precision, self.seed = recipe, held, precision, seed
        self.step_seconds = self.held_seconds = 0.0
        with memory_said(recipe):
            self._member = copy.deepcopy(member)
        self._loader = lambda stop: loader_of(recipe, store, seed, workers, stop)

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
        with closing(self._loader(stop)) as stream:
            while len(times) < 2 or (
                len(times) <= TRIAL_STEPS and sum(times) < limit
            ):  # the first warms up, and does not count
                start = time.monotonic()
                made = next(stream, None)
                if made is None or stop.signal:
                    raise Interrupted(f"{stop.signal.name}: before the first step; nothing was written", stop.signal)
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
        self.step_seconds = float(np.mean(times[1:]))
        if self.held:
            start = time.monotonic()
            held_out(self._member, self.held[:1], self.precision)
            self.held_seconds = (time.monotonic() - start) * len(self.held)
        del self._member
