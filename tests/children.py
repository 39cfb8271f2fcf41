"""Processes that cost little to start: a server that has torch imported, and never computes, forks one for each command.

A child is a process like any other, with the command line's own entry point: a SIGKILL ends it wherever it is, and what it leaves is
what it wrote.  Run as a script, this file is the server: a JSON order a line on stdin, a JSON answer a line on stdout.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TOLD = {signal.SIGINT, signal.SIGTERM}
HOME = Path(__file__).resolve().parents[1]


class Children:
    """`children.start("verify", "run")` is `bertsmith verify run` in a process of its own."""

    def __init__(self, folder: Path, around: tuple[str, ...] = ()):
        """`around`: a command that is given the server's as its arguments; `started` says whether the server came up in it."""
        self.folder, self._count = folder, 0
        path = os.pathsep.join([str(HOME / "src"), str(HOME), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        server = [*around, sys.executable, __file__]
        self._server = subprocess.Popen(
            server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder
        )
        self.started = self._server.stdout.readline() == b"ready\n"

    def start(self, *arguments: object, call: str = "bertsmith.cli:run", **options: object) -> "Child":
        """`call`: module:function of (list of arguments, **options), which returns the exit code."""
        self._count += 1
        said = self.folder / f"{self._count}"
        for suffix in (".out", ".err"):  # it may be killed before it says anything
            said.with_suffix(suffix).touch()
        order = {"call": call, "arguments": [str(a) for a in arguments], "options": options, "said": str(said)}
        return Child(self, self.ask(order), said)

    def ask(self, order: object) -> int | None:
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.kill()  # it holds nothing, and its own children are waited for where they are started
        self._server.wait()


class Child:
    def __init__(self, parent: Children, pid: int, said: Path):
        self.parent, self.pid, self.code = parent, pid, None
        self._said = said

    def running(self) -> bool:
        if self.code is None:
            self.code = self.parent.ask({"poll": self.pid})
        return self.code is None

    def send(self, number: int) -> None:
        if self.running():
            os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """The exit code, minus the number of a signal that ended it.  TimeoutError, and the child killed, after `seconds`."""
        until = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"still there after {seconds} s: {self.err}")
            time.sleep(0.002)
        return self.code

    def kill(self) -> int:
        self.send(signal.SIGKILL)
        return self.wait()

    @property
    def out(self) -> str:
        return self._said.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self._said.with_suffix(".err").read_text()


def serve() -> None:
    """Import everything, compute nothing: what torch starts on first use (threads) would not live on in a fork."""
    for module in (
        "cli",
        "training.pretraining",
        "training.trial",
        "text.store",
        "text.tokenizer",
        "training.processes",
        "training.shard",
        "downstream.verify",
    ):
        importlib.import_module(f"bertsmith.{module}")
    importlib.import_module("torch.distributed.fsdp")
    importlib.import_module("bertsmith.recipe").members()
    orders = b""
    os.write(1, b"ready\n")
    while chunk := os.read(0, 1 << 16):
        orders += chunk
        while b"\n" in orders:
            line, _, orders = orders.partition(b"\n")
            order = json.loads(line)
            answer = _poll(order["poll"]) if "poll" in order else _fork(order)
            os.write(1, json.dumps(answer).encode() + b"\n")


def _poll(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _fork(order: dict) -> int:
    """A signal waits until the command is there to be told, as a process of its own would not be reached by one before it exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        return pid
    for descriptor, path in ((0, os.devnull), (1, f"{order['said']}.out"), (2, f"{order['said']}.err")):
        os.dup2(os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    module, _, function = order["call"].partition(":")
    call = getattr(importlib.import_module(module), function)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        code = call(order["arguments"], **order["options"])
    except KeyboardInterrupt:  # before the command has begun, or behind its end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking down all that the server imported would take longer than most runs


if __name__ == "__main__":
    serve()
