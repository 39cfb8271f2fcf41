"""How long an update takes, for `--minutes`."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np

from bertsmith.errors import Interrupted
from bertsmith.recipe import Recipe
from bertsmith.training.distributed import World
from bertsmith.training.evaluate import held_out
from bertsmith.training.optim import build_optimizer, set_rate
from bertsmith.training.precision import Precision
from bertsmith.training.shard import Shared
from bertsmith.training.step import memory_said, train_step
from bertsmith.training.updates import closing, loader_of

TRIAL_STEPS, TRIAL_SECONDS = 8, 10.0  # what --minutes is measured on: so many steps, or so long


class Trial:
    """How long an update takes, measured on the first batches with a copy of the model, so that the run itself is as if never tried."""

    def __init__(
        self,
        recipe: Recipe,
        store: Any,
        member: Any,
        held: list,
        precision: Precision,
        seed: int,
        workers: int,
        world: World,
        shard: str,
    ):
        self.recipe, self.held, self.precision, self.seed = recipe, held, precision, seed
        self.world, self.shard = world, shard
        self.step_seconds = self.held_seconds = 0.0
        with memory_said(recipe):
            self._member = copy.deepcopy(member)
        self._loader = lambda: loader_of(recipe, store, seed, workers, world)

    def steps(self, seconds: float, begun: float) -> int:
        """How many updates and evaluations fill what is left of `seconds` since `begun`, by process 0's clock; at least one."""
        self._measure(min(TRIAL_SECONDS, 0.1 * seconds))
        every = self.recipe.training.evaluate
        left = seconds - (time.monotonic() - begun) - self.held_seconds
        each = self.step_seconds + (self.held_seconds / every if every else 0.0)
        return self.world.tell(max(1, int(left / each)))

    def _measure(self, limit: float) -> None:
        shared = Shared(self._member, self.world, self.shard, self.recipe.training.accumulate)
        optimizer = build_optimizer(self._member, self.recipe.schedule)
        set_rate(optimizer, 0.0)
        times: list[float] = []
        with closing(self._loader()) as stream:
            while self._more(times, limit):
                start = time.monotonic()
                made = next(stream, None)
                if made is None or self.world.caught:
                    number = self.world.caught
                    raise Interrupted(f"{number.name}: before the first step; nothing was written", number)
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
                    shared=shared,
                )
                times.append(time.monotonic() - start)
        self.step_seconds = float(np.mean(times[1:]))
        if self.held:
            start = time.monotonic()
            size = self.world.size
            held_out(self._member, self.held[:size], self.precision, world=self.world)
            self.held_seconds = (time.monotonic() - start) * math.ceil(len(self.held) / size)
        del self._member

    def _more(self, times: list[float], limit: float) -> bool:
        """The first update warms up, and does not count."""
        return self.world.tell(len(times) < 2 or (len(times) <= TRIAL_STEPS and sum(times) < limit))
