"""Threads that prepare what is needed next, and a wait for it that always ends: with the result, a failure, or a time-out.

They are daemons of their own: a thread of `ThreadPoolExecutor` is waited for when the process ends, so one that hangs in a read of a
disk that does not answer would keep the process for ever.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any

from bertsmith.errors import ResourceError
from bertsmith.spelling import flag

PATIENCE = 300.0  # seconds that one step may take to prepare
POLL = 0.2  # seconds between looks at whether to stop
FAREWELL = 2.0  # seconds that threads at work get to end in


class Workers:
    """`with Workers(2, "loader") as pool: future = pool.submit(function, argument)`; what was not begun at the end never is."""

    def __init__(self, count: int, name: str):
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable, *arguments: Any) -> Future:
        future: Future = Future()
        self._tasks.put((future, function, arguments))
        return future

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._closed:
            future, function, arguments = task
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)
            del task, future, function, arguments  # a step that was handed over is not kept until the next one

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for _thread in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + FAREWELL
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))


def ready(future: Future, others: Iterable[Future], stop: Callable[[], bool], patience: float) -> bool:
    """Wait until `future` is done: True; or until `stop()`: False.  A failure among the `others` is raised at once.

    ResourceError after `patience` seconds.
    """
    until = time.monotonic() + patience
    others = list(others)
    while True:
        for failed in others:
            if failed.done() and failed.exception() is not None:
                failed.result()
        if future.done():
            return True
        if stop():
            return False
        if time.monotonic() >= until:
            raise ResourceError(
                f"loader: nothing came within {patience:g} seconds: a worker hangs, most often because the disk that holds the "
                f"store does not answer; {flag('resume')} goes on from the last saved step"
            )
        wait([future], min(POLL, patience))
