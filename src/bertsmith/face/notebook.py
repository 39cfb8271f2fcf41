"""What a notebook shows while a verb works: its lines, and one bar that is drawn over."""

from __future__ import annotations

import sys
import time
from typing import Any

from bertsmith.console import loss_said

SHOWN = {"say", "progress"}
EVERY = 0.25  # seconds between two drawings of the bar


def here() -> bool:
    """Whether this is a cell of a notebook: IPython with a kernel.  IPython is looked for among the modules that are loaded, never loaded."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Bar:
    """How far an update is along the run, as HTML and as text."""

    def __init__(self, step: int, steps: int, loss: float, rate: float, left: float):
        self.step, self.steps = step, steps
        self.said = f"{step:,}/{steps:,}  {loss_said(loss)}  {rate:,.0f} tokens/s  {left:,.0f} s left"

    def __repr__(self) -> str:
        return self.said

    def _repr_html_(self) -> str:
        return f'<progress value="{self.step}" max="{self.steps}"></progress> <code>{self.said}</code>'


class Watch:
    """`say` and `progress` of one call."""

    def __init__(self) -> None:
        self._shown: Any = None  # the bar's place
        self._last = 0.0

    def say(self, line: str) -> None:
        print(line, flush=True)

    def progress(self, step: int, steps: int, loss: float, rate: float, left: float) -> None:
        if step < steps and time.monotonic() - self._last < EVERY:
            return
        self._last, bar = time.monotonic(), Bar(step, steps, loss, rate, left)
        if self._shown is None:
            from IPython.display import display  # it is there: this is its kernel

            self._shown = display(bar, display_id=True)
        else:
            self._shown.update(bar)
