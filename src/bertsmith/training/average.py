"""An average of the weights of a run, which is examined and saved in their place; the weights go on learning.

What learns of a member is averaged; all else is the same in both.  A step of such a run holds the average as its model, and beside it what
the run goes on from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from bertsmith.recipe import Last, Moving, Schedule
from bertsmith.training.optim import share_of

WEIGHTS = "weights"


class Average(Protocol):
    def updated(self, step: int) -> None:
        """Update `step` was made."""

    def due(self) -> None:
        """An exam is to be held."""

    def shown(self) -> AbstractContextManager[None]:
        """While it stands, the member is the average."""

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs of a member that is the average."""

    def restore(self, state: dict[str, Tensor]) -> None: ...


def average_of(learner: nn.Module, schedule: Schedule) -> Average:
    config = schedule.average
    if config is None:
        return Itself()
    names = {name: p for name, p in learner.named_parameters() if share_of(name, learner, schedule).rate > 0}
    return MovingAverage(names, config) if isinstance(config, Moving) else LastAverage(names, config)


class Itself:
    """No average."""

    def updated(self, step: int) -> None: ...

    def due(self) -> None: ...

    @contextmanager
    def shown(self) -> Iterator[None]:
        yield

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...


class _Held:
    """Parameters by name, and what stands in their place while it is shown."""

    def __init__(self, own: dict[str, nn.Parameter]):
        self.own = own

    def average(self) -> dict[str, Tensor]:
        raise NotImplementedError

    @contextmanager
    def shown(self) -> Iterator[None]:
        before = {name: p.data for name, p in self.own.items()}
        average = self.average()
        try:
            for name, p in self.own.items():
                p.data = average[name]
            yield
        finally:
            for name, p in self.own.items():
                p.data = before[name]

    def weights(self) -> dict[str, Tensor]:
        return {f"{WEIGHTS}.{name}": p.detach().clone() for name, p in self.own.items()}

    @torch.no_grad()
    def take(self, state: dict[str, Tensor]) -> None:
        for name, p in self.own.items():
            p.copy_(state[f"{WEIGHTS}.{name}"])


class MovingAverage(_Held):
    def __init__(self, own: dict[str, nn.Parameter], config: Moving):
        super().__init__(own)
        self.decay = config.decay
        self.found = {name: p.detach().clone() for name, p in own.items()}

    @torch.no_grad()
    def updated(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, p in self.own.items():
            self.found[name].lerp_(p, 1 - decay)

    def due(self) -> None: ...

    def average(self) -> dict[str, Tensor]:
        return self.found

    def state(self) -> dict[str, Tensor]:
        return self.weights()

    def restore(self, state: dict[str, Tensor]) -> None:
        """The member is the average now, and becomes the weights."""
        self.found = {name: p.detach().clone() for name, p in self.own.items()}
        self.take(state)


class LastAverage(_Held):
    """Before the first exam it is the weights themselves."""

    def __init__(self, own: dict[str, nn.Parameter], config: Last):
        super().__init__(own)
        self.count = config.count
        self.kept: list[dict[str, Tensor]] = []  # the oldest first

    def updated(self, step: int) -> None: ...

    def due(self) -> None:
        self.kept = [*self.kept, {name: p.detach().clone() for name, p in self.own.items()}][-self.count :]

    def average(self) -> dict[str, Tensor]:
        if not self.kept:
            return {name: p.data for name, p in self.own.items()}
        return {name: torch.stack([one[name] for one in self.kept]).mean(0) for name in self.own}

    def state(self) -> dict[str, Tensor]:
        kept = {f"{number}.{name}": x for number, one in enumerate(self.kept) for name, x in one.items()}
        return {**self.weights(), **kept}

    def restore(self, state: dict[str, Tensor]) -> None:
        count = len({name.partition(".")[0] for name in state}) - 1
        self.kept = [{name: state[f"{number}.{name}"] for name in self.own} for number in range(count)]
        self.take(state)
