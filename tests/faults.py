"""A process that is killed at, or refused, the N-th thing that it asks of the disk during one save of a run.

The functions here run in a child (children.py).  A save begins with the line of its step in metrics.jsonl and ends with the run.  Faults come
from a layer over `os`, or from the kernel by way of `strace -e inject`.
"""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.runs import leftovers, same

from bertsmith import cli

# What changes a disk.  `open` and `mkdir` count where they make something.
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate")


def layer(arguments: list[str], step: int, at: int = 0, action: str = "none", log: str = "") -> int:
    """A command in which the `at`-th call from the line of `step` on is not carried out: `action` is KILL or the name of an error.

    `log`: a file that gets a line for each call: its name and the path.
    """
    faults = _Faults(action, at, Path(log) if log else None)

    def begun(path: str, data: bytes) -> bool:
        return path.endswith("metrics.jsonl") and f'"step": {step},'.encode() in data

    _patch(faults, begun)
    code = cli.run(arguments)
    faults.close()
    return code


class _Faults:
    def __init__(self, action: str, at: int, log: Path | None):
        self.action, self.at, self.count, self.armed = action, at, 0, False
        self._log = open(log, "w") if log else None

    def meet(self, name: str, path: str) -> None:
        self.count += 1
        if self._log:
            print(name, path, file=self._log, flush=True)
        if self.count == self.at:
            if self.action == "KILL":
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, self.action)
            raise OSError(code, os.strerror(code), path)

    def close(self) -> None:
        self.armed = False
        if self._log:
            self._log.close()


def _patch(faults: _Faults, begun: Callable[[str, bytes], bool]) -> None:
    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            path = _path(arguments[0], options.get("dir_fd"))
            if name == "write" and begun(path, bytes(arguments[1])):
                faults.armed = True
            makes = name not in ("open", "mkdir") or not os.path.lexists(path)
            if faults.armed and makes and (name != "open" or arguments[1] & os.O_CREAT):
                faults.meet(name, path)
            return real(*arguments, **options)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)


def _path(target: Any, folder: int | None) -> str:
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    return os.path.join(_path(folder, None) if folder is not None else "", os.fspath(target))


def traced(arguments: list[str], step: int, log: str, inject: str = "") -> int:
    """The same with strace: it is attached when the line of `step` is about to be written, and does what `inject` says.  99: it may not."""
    started = []

    def begun(path: str, data: bytes) -> bool:
        if not started and path.endswith("metrics.jsonl") and f'"step": {step},'.encode() in data:
            started.append(path)
            if not _attach(log, inject):
                os._exit(99)
        return False

    _patch(_Faults("none", 0, None), begun)
    return cli.run(arguments)


TRACED = r"/^(open|openat|write|pwrite64|fsync|fdatasync|rename|renameat|renameat2|mkdir|mkdirat|unlink|unlinkat|rmdir|ftruncate)$"


def _attach(log: str, inject: str) -> bool:
    options = ["-qq", "-y", "-o", log, "-e", f"trace={TRACED}", *(["-e", f"inject={inject}"] if inject else [])]
    with open(os.devnull, "w") as null:
        subprocess.Popen(["strace", *options, "-p", str(os.getpid())], stdout=null, stderr=null)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not re.search(r"TracerPid:\t0\n", Path("/proc/self/status").read_text()):
            return True
        time.sleep(0.005)
    return False


def short_files(arguments: list[str], limit: int) -> int:
    """A command that may not write a file beyond `limit` bytes: what `ulimit -f` does, with errors from the kernel."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return cli.run(arguments)


def full_disk(arguments: list[str], step: int, left: int, ballast: str) -> int:
    """A command during which another program fills the disk, when `step` begins to be saved, up to `left` bytes."""

    def begun(path: str, data: bytes) -> bool:
        if path.endswith("metrics.jsonl") and f'"step": {step},'.encode() in data and not os.path.exists(ballast):
            disk = os.statvfs(os.path.dirname(ballast))
            descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
            os.posix_fallocate(descriptor, 0, max(disk.f_bavail * disk.f_frsize - left, 1))
            os.close(descriptor)
        return False

    _patch(_Faults("none", 0, None), begun)
    return cli.run(arguments)


def copy(arguments: list[str]) -> int:
    shutil.copytree(*arguments, dirs_exist_ok=True)
    return 0


def compare(arguments: list[str]) -> int:
    """0 if two runs are the same, bit for bit, and nothing temporary is left of either."""
    a, b = map(Path, arguments)
    same(a, b)
    return len(leftovers(a) + leftovers(b))


def remove(arguments: list[str]) -> int:
    for path in arguments:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    return 0
