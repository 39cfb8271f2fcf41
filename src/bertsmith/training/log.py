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
from bertsmith.spelling import flag
from bertsmith.training.run import EVENTS, LOG, SPEED, Run


class Metrics:
    """Appends to metrics.jsonl, and knows length and SHA-256 of what it holds, for a step's manifest to seal."""

    def __init__(self, path: Path, keep: int):
        """Cuts the file to its first `keep` bytes: lines after the step that a run goes on from are written again."""
        self.path = path
        with files.writing(path):
            self._file = open(path, "a+b", buffering=0)
            try:
                if os.fstat(self._file.fileno()).st_size != keep:
                    os.ftruncate(self._file.fileno(), keep)
                self._file.seek(0)
                self._digest = hashlib.file_digest(self._file, "sha256")
            except BaseException:
                self._file.close()
                raise

    def write(self, line: dict[str, Any]) -> None:
        """One update.  Floats in full precision; a number that is not finite is a bug here.

        ResourceError where the system refuses: a run does not go on without its line, and a resumed one cuts what is left of it.
        """
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        with files.writing(self.path):
            files.append(self._file.fileno(), data)
        self._digest.update(data)

    def sealed(self) -> dict:
        """Syncs to disk; {"bytes", "sha256"}."""
        with files.writing(self.path):
            os.fsync(self._file.fileno())
        return {"bytes": os.fstat(self._file.fileno()).st_size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


class Journal:
    """`journal.say` passes a line on and keeps it in log.txt.  A log that cannot be written never ends a run: that is said, once."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._early: list[str] = []  # what was said before the run had a folder
        self._files: dict[str, Any] | None = None
        self._lost: set[str] = set()

    def open(self, run: Run) -> None:
        """`run.log` is the open log.txt, None where that cannot be written."""
        speed = None
        try:
            speed = open(run / SPEED, "ab", buffering=0)
        except OSError as error:
            self._lose(SPEED, error)
        if run.log is None:
            self._say(f"warning: {LOG} cannot be written; the run goes on without it")
        self._files = {LOG: run.log, SPEED: speed}
        self._write(LOG, f"{_now()} process {os.getpid()}\n" + "".join(self._early))

    def say(self, line: str) -> None:
        self._say(line)
        entry = f"{_now()} {line}\n"
        if self._files is None:
            self._early.append(entry)
        else:
            self._write(LOG, entry)

    def speed(self, **figures: Any) -> None:
        self._write(SPEED, json.dumps({**figures, "time": round(time.time(), 3)}) + "\n")

    def _write(self, name: str, text: str) -> None:
        file = (self._files or {}).get(name)
        if file is None:
            return
        try:
            files.append(file.fileno(), text.encode())
        except OSError as error:  # tried again with the next line: a disk that is full now need not stay so
            self._lose(name, error)

    def _lose(self, name: str, error: OSError) -> None:
        if name not in self._lost:
            self._lost.add(name)
            self._say(f"warning: {name} cannot be written: {error.strerror}; the run goes on, lines of it are missing")

    def close(self) -> None:
        """log.txt is left to the lock that it is."""
        if self._files and self._files[SPEED] is not None:
            self._files[SPEED].close()
        self._files = {LOG: None, SPEED: None}


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def check_tensorboard() -> None:
    """InputError naming the extra where tensorboard is not installed."""
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            f"{flag('tensorboard')}: the package tensorboard is not installed; pip install 'bertsmith[track]'"
        )


class Events:
    """TensorBoard's event files, for those who asked for them.  They are a log too: a disk that refuses them ends no run."""

    def __init__(self, run: Run, asked: bool, step: int, say: Callable[[str], None]):
        self._writer: Any = None
        self._say = say
        if asked:
            from torch.utils.tensorboard import SummaryWriter

            try:
                self._writer = SummaryWriter(str(run / EVENTS), purge_step=step + 1)
            except OSError as error:
                raise ResourceError(f"{printable(run / EVENTS)}: cannot be written: {error.strerror}") from None

    def write(self, line: dict[str, Any]) -> None:
        if self._writer is None:
            return
        try:
            self._add(line)
        except OSError as error:
            self._lose(error)

    def _add(self, line: dict[str, Any]) -> None:
        for name in ("loss", "lr", "grad_norm", "tokens"):
            self._writer.add_scalar(f"train/{name}", line[name], line["step"])
        for term, value in line["terms"].items():
            if value is not None:
                self._writer.add_scalar(f"train/{term}", value, line["step"])
        for term, found in line.get("evaluation", {}).items():
            for name, value in found.items():
                self._writer.add_scalar(f"held_out/{term}_{name}", value, line["step"])

    def _lose(self, error: OSError) -> None:
        self._writer = None
        self._say(f"warning: {EVENTS} cannot be written: {error.strerror or error}; the run goes on without them")

    def close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._lose(error)
