"""What a run writes while it works: metrics.jsonl (exact, clock-free), and speed.jsonl, log.txt, TensorBoard events (everything else)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.training.run import EVENTS, LOG, SPEED, Run


class Metrics:
    """Appends to metrics.jsonl, and knows length and SHA-256 of what it holds, for a step's manifest to seal."""

    def __init__(self, path: Path, keep: int):
        """Cuts the file to its first `keep` bytes: lines after the step that a run goes on from are written again."""
        self.path = path
        with files.writing(path):
            self._file = open(path, "a+b")
            if os.fstat(self._file.fileno()).st_size != keep:
                self._file.truncate(keep)
            self._file.seek(0)
            self._digest = hashlib.sha256(self._file.read())

    def write(self, line: dict[str, Any]) -> None:
        """One update.  Floats in full precision; a number that is not finite is a bug here."""
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        with files.writing(self.path):
            self._file.write(data)
            self._file.flush()
        self._digest.update(data)

    def sealed(self) -> dict:
        """Syncs to disk; {"bytes", "sha256"}."""
        with files.writing(self.path):
            os.fsync(self._file.fileno())
        return {"bytes": os.fstat(self._file.fileno()).st_size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


class Journal:
    """`journal.say` passes a line on and keeps it in log.txt; a log that cannot be written never ends a run."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._early: list[str] = []
        self._log: Any = None
        self._speed: Any = None

    def open(self, run: Run) -> None:
        self._log = run.log
        self._write(self._log, f"{_now()} process {os.getpid()}\n" + "".join(self._early))
        try:
            self._speed = open(run / SPEED, "ab", buffering=0)
        except OSError as error:
            self._say(f"warning: {SPEED} cannot be written: {error.strerror}")

    def say(self, line: str) -> None:
        self._say(line)
        entry = f"{_now()} {line}\n"
        if self._log is None:
            self._early.append(entry)
        else:
            self._write(self._log, entry)

    def speed(self, **figures: Any) -> None:
        self._write(self._speed, json.dumps({**figures, "time": round(time.time(), 3)}) + "\n")

    def _write(self, file: Any, text: str) -> None:
        if file is None:
            return
        try:
            file.write(text.encode())
        except OSError as error:
            if file is self._speed:
                self._speed = None
            else:
                self._log = None
            self._say(f"warning: {SPEED if file is not self._log else LOG} is not written any more: {error.strerror}")

    def close(self) -> None:
        if self._speed is not None:
            self._speed.close()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def check_tensorboard() -> None:
    """InputError naming the extra where tensorboard is not installed."""
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: the package tensorboard is not installed; pip install 'bertsmith[track]'")


class Events:
    """TensorBoard's event files, for those who asked for them."""

    def __init__(self, run: Run, asked: bool, step: int):
        self._writer: Any = None
        if asked:
            from torch.utils.tensorboard import SummaryWriter

            try:
                self._writer = SummaryWriter(str(run / EVENTS), purge_step=step + 1)
            except OSError as error:
                raise ResourceError(f"{printable(run / EVENTS)}: cannot be written: {error.strerror}") from None

    def write(self, line: dict[str, Any]) -> None:
        if self._writer is None:
            return
        for name in ("loss", "lr", "grad_norm", "tokens"):
            self._writer.add_scalar(f"train/{name}", line[name], line["step"])
        for term, value in line["terms"].items():
            if value is not None:
                self._writer.add_scalar(f"train/{term}", value, line["step"])
        for term, found in line.get("evaluation", {}).items():
            for name, value in found.items():
                self._writer.add_scalar(f"held_out/{term}_{name}", value, line["step"])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
