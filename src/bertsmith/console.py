"""What a command says, and where: results and progress lines to stdout, counted warnings and the bar to stderr.

Warnings are held back until the command has succeeded: when it fails, its one error line is all of stderr.
"""

import os
import sys
import time
from typing import Any


def loss_said(loss: float) -> str:
    """The loss of an update with the terms that it is made of: the token term alone falls to the unigram entropy, and leaves it."""
    terms = {name: value for name, value in getattr(loss, "terms", {}).items() if value is not None}
    parts = ", ".join(f"{name} {value:.4f}" for name, value in terms.items())
    return f"loss {loss:.4f} ({parts})" if len(terms) > 1 else f"loss {loss:.4f}"


class Console:
    """`console.say(line)` for progress, `console.result(object, text)` for the result; with `json=True` only the latter reaches stdout."""

    def __init__(self, json: bool = False):
        self.json = json
        self.warnings: list[str] = []
        self._deaf = False  # stdout takes no more
        self._bar: Any = None
        self._last = 0.0

    def say(self, line: str) -> None:
        if line.startswith("warning:"):
            self.warnings.append(line)
        elif not self.json and not self._deaf:
            try:
                self.out(line)
            except OSError as error:  # a line about the work is not worth ending the work
                self._deaf = True
                self.warnings.append(f"warning: stdout cannot be written: {error.strerror}; the rest is not shown")

    def out(self, line: str) -> None:
        """Write one line of a result.  A reader that went away (`| head`) does not end the work; OSError where the disk refuses."""
        try:
            print(line, flush=True)
        except OSError as error:  # else what is still buffered would fail again, when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, "stdout") from None

    def progress(self, step: int, steps: int, loss: float, rate: float, left: float) -> None:
        """A bar on a terminal; off a terminal a line at most every ten seconds."""
        text = f"{loss_said(loss)}  {rate:,.0f} tokens/s"
        if sys.stderr.isatty():
            self._draw(step, steps, text)
        elif step == steps or time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            self.say(f"step {step}/{steps}  {text}  {left:.0f} s left")

    def _draw(self, step: int, steps: int, text: str) -> None:
        if self._bar is None:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Terminal(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=steps)
        self._bar.update(self._task, completed=step, description=text)

    def close(self, failed: bool) -> None:
        if self._bar is not None:
            self._bar.stop()
        for line in () if failed else self.warnings:
            print(f"bertsmith: {line}", file=sys.stderr)
