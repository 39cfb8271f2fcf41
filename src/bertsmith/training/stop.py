"""SIGINT and SIGTERM: the first lets the current step end and be saved, the second ends the process at once.

In an interactive session (a notebook, `python -i`) the second SIGINT ends the call, not the session.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """`with Stop() as stop:` then ask `stop.asked()`; `stop.signal` is which one came.  Outside the main thread nothing is installed.

    `echo`: seconds within which a second signal is taken for the first: a scheduler that tells every process of a job, and torchrun
    that passes on what it was told, reach a worker twice.
    """

    def __init__(self, echo: float = 0.0) -> None:
        self.signal: signal.Signals | None = None
        self._echo, self._since = echo, 0.0
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not None:  # one that Python did not set could not be put back
                    self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        return self.signal is not None

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked worker: Ctrl-C reaches the whole group, and its parent decides
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), time.monotonic()
        elif time.monotonic() >= self._since + self._echo:
            if number == signal.SIGINT and hasattr(sys, "ps1"):
                raise KeyboardInterrupt
            os._exit(128 + number)
