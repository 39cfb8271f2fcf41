"""Requests that wait, and the one thread that asks the models: whatever waits and wants the same of the same model shares a packed pass.

Nothing waits for company: a request that is alone is answered alone, and those that come meanwhile are the next pass.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertsmith.serving.figures import Figures
from bertsmith.serving.limits import Limits
from bertsmith.serving.refused import Refused


@dataclass(eq=False)
class Client:
    """Who waits for an answer, since when by the loop's clock; `gone`: nobody does."""

    since: float = 0.0
    gone: bool = False


@dataclass(frozen=True, eq=False)
class Said:
    """What a request is told: its answers, the tokens that were read for them, and what a user should know."""

    found: Any
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What a request wants of a model, about `size` tokens.  The parts of works of one `key` are given to `together`, which answers each, or
    says what is wrong with it; what it raises may be the fault of any of them."""

    key: Hashable
    size: int
    part: Any
    together: Callable[[list[Any]], Sequence[Said | Exception]]


@dataclass(eq=False)
class _Place:
    work: Work
    client: Client
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)


class Line:
    """`taken`: requests that are being prepared, wait, or are worked on; whoever takes one counts it."""

    def __init__(self, limits: Limits, figures: Figures):
        self.limits, self.figures = limits, figures
        self.taken = 0
        self._waiting: deque[_Place] = deque()
        self._change = threading.Condition()
        self._open = True
        self._rate = 0.0  # requests a second, of late
        figures.gauges |= {"requests_taken": lambda: self.taken, "requests_waiting": lambda: len(self._waiting)}
        self._thread = threading.Thread(target=self._pass, name="passes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join()

    @property
    def full(self) -> bool:
        return self.taken >= self.limits.queue

    def after(self) -> int:
        """Seconds until half of what was taken will be answered, as things go."""
        return max(1, min(60, math.ceil(self.taken / 2 / self._rate))) if self._rate else 1

    async def answered(self, work: Work, client: Client) -> Said:
        """503 where that takes longer than a request may."""
        place = _Place(work, client, asyncio.get_running_loop().create_future())
        with self._change:
            self._waiting.append(place)
            self._change.notify()
        try:
            async with asyncio.timeout_at(client.since + self.limits.seconds if client.since else None):
                return await place.future
        except TimeoutError:
            client.gone = True
            raise Refused(503, f"took longer than {self.limits.seconds:g} s", after=self.after()) from None

    # -- the thread ------------------------------------------------------------------------------------------------------------------

    def _pass(self) -> None:
        while some := self._next():
            begin = time.perf_counter()
            found = _answers([place.work for place in some])
            seconds = time.perf_counter() - begin
            self.figures.passed(len(some), sum(each.tokens for each in found if isinstance(each, Said)), seconds)
            now = len(some) / max(seconds, 1e-6)
            self._rate = now if not self._rate else 0.9 * self._rate + 0.1 * now
            for loop in {place.loop for place in some}:
                own = [(place.future, result) for place, result in zip(some, found) if place.loop is loop]
                try:
                    loop.call_soon_threadsafe(_deliver, own)
                except RuntimeError:  # the loop is closed: nobody is left who could be told
                    self.figures.dropped += len(own)

    def _next(self) -> list[_Place]:
        """The first that somebody waits for, and what may share its pass; [] when the line is closed."""
        with self._change:
            while True:
                while self._waiting and self._waiting[0].client.gone:
                    self._waiting.popleft()
                    self.figures.dropped += 1
                if self._waiting:
                    break
                if not self._open:
                    return []
                self._change.wait()
            first = self._waiting.popleft()
            some, left, used = [first], [], first.work.size
            for place in self._waiting:
                if place.client.gone:
                    self.figures.dropped += 1
                elif place.work.key == first.work.key and used + place.work.size <= self.limits.share:
                    some.append(place)
                    used += place.work.size
                else:
                    left.append(place)
            self._waiting = deque(left)
            return some


def _answers(works: list[Work]) -> list[Any]:
    """What each is told, or the error that it met: what breaks a pass is looked for by halves, until it breaks it for its own request alone."""
    try:
        return [*works[0].together([work.part for work in works])]
    except Exception as error:
        if len(works) == 1:
            return [error]
    half = len(works) // 2
    return _answers(works[:half]) + _answers(works[half:])


def _deliver(found: list[tuple[asyncio.Future, Any]]) -> None:
    for future, result in found:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
