"""`--processes N`: torchrun's agent for this machine, and what its workers tell it.  Loads torch only where it starts something."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from bertsmith.errors import BertsmithError, InputError, Interrupted, Lost, ResourceError, remade

OURS = "BERTSMITH_PROCESSES"  # set for workers of `start`: their errors go to the one line of the command that the user typed
_kept: list[Any] | None = None  # in the command line's own process: see `leave`
SAVING = 600  # seconds that workers get to end their step and save it, once they were told to stop
FAREWELL = 1.0  # seconds that process 0 gets to speak: torchrun ends all as soon as one has ended


def rank() -> int:
    """This process's number among those that torchrun started; 0 alone."""
    return int(os.environ.get("RANK", 0)) if worker() else 0


def worker() -> bool:
    """Whether this is one of many processes."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def wanted(processes: int | None) -> bool:
    """Whether `--processes` asks for workers that are not there yet.  InputError where torchrun made another number of them."""
    there = int(os.environ.get("WORLD_SIZE", 1))
    if worker() and processes not in (None, there):
        raise InputError(f"--processes {processes}: torchrun started {there} already; leave the option out")
    return not worker() and (processes or 1) > 1


def enter() -> None:
    """In the command line's own process, before torch is loaded: its C++ parts would warn where a peer goes away.  We say what matters."""
    global _kept
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    _kept = []


def keep(thing: Any) -> None:
    """What the command line's process holds on to until it leaves."""
    if _kept is not None:
        _kept.append(thing)


def leave(code: int) -> None:
    """End a worker of the command line at once: where a peer has died, torch may never be done with taking down its process group."""
    if worker() and _kept:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(arguments: list[str], processes: int, threads: int | None) -> None:
    """Run `bertsmith ARGUMENTS` as `processes` workers of this machine; returns when all have ended well.

    Raises what ended them, as one error: their own, Lost naming the one that died, Interrupted after they have saved.
    """
    enter()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(threads or max(1, cores // processes)))
    os.environ[OURS] = str(processes)
    # With torch's own setting a restarted group reads addresses of the dead one and hangs or fails: 9 of 16 kills recovered.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING))
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
        try:
            _agent(arguments, processes, folder)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _agent(arguments: list[str], processes: int, folder: str) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the agent's; what it knows is said below
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a free port
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "bertsmith", *arguments)
    except ChildFailedError as error:
        raise _cause(_reports(folder), error.failures, processes) from None
    except SignalException as error:
        raise _stopped(_reports(folder), error.sigval) from None
    except (RuntimeError, OSError) as error:
        raise ResourceError(f"--processes {processes}: cannot be started: {error}") from None
    finally:
        logging.disable(logging.NOTSET)


def _cause(reports: dict[int, dict], ends: dict[int, Any], processes: int) -> BertsmithError:
    """Of all that ended, what ended the others: an error of its own, else a death or that someone was missed, whichever came first.

    `ends`: exitcode and timestamp of all that did not end well; the agent kills those that do not heed its SIGTERM, half a minute later.
    """
    own = [rank for rank, report in sorted(reports.items()) if not report["lost"]]
    if own:
        return remade(reports[own[0]]["errorCode"], reports[own[0]]["message"])
    missed = min((ends[rank].timestamp for rank in reports if rank in ends), default=math.inf)
    codes = {rank: end.exitcode for rank, end in ends.items()}
    killed = sorted(
        rank for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM and ends[rank].timestamp <= missed
    )
    if killed:
        which = " and ".join(f"process {rank} of {processes} was killed by {_name(-codes[rank])}" for rank in killed)
        hint = " (as a system short of memory does)" if -codes[killed[0]] == signal.SIGKILL else ""
        return Lost(f"{which}{hint}; the same command with --resume goes on")
    if reports:
        return Lost(reports[min(reports)]["message"])
    ended = ", ".join(f"{rank} (exit code {code})" for rank, code in sorted(codes.items()))
    return ResourceError(f"process {ended} of {processes} ended early; the same command with --resume goes on")


def _stopped(reports: dict[int, dict], number: int) -> BertsmithError:
    """After a signal to this process, which its agent passed on."""
    if 0 in reports:
        return remade(reports[0]["errorCode"], reports[0]["message"])
    return Interrupted(f"{_name(number)}: ended; --resume goes on from what was saved, if anything was", number)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _reports(folder: str) -> dict[int, dict]:
    """What workers left, by rank (which on one machine is the local one)."""
    found: dict[int, dict] = {}
    for path in Path(folder).glob("*/attempt_*/*/error.json"):
        try:
            found[int(path.parent.name)] = json.loads(path.read_bytes())["message"]
        except (ValueError, KeyError, OSError):
            continue  # not ours
    return found


def report(code: int, message: str, lost: bool) -> None:
    """A worker's error goes to the file that torchrun reads; then process 0 gets time to say it.  Nothing for others."""
    if not worker():
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, to those left when one has ended: this one is ending
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        about = {"py_callstack": message, "timestamp": str(int(time.time()))}
        tree: dict[str, Any] = {"message": message, "errorCode": code, "lost": lost, "extraInfo": about}
        try:  # whole or not at all: torchrun fails over a part of it
            Path(f"{path}.tmp").write_text(json.dumps({"message": tree}))
            os.replace(f"{path}.tmp", path)
        except OSError:
            pass  # the folder went with the agent
    if rank() > 0:
        time.sleep(FAREWELL)


def mute() -> bool:
    """Whether another speaks of this process's errors: process 0, or the command that started it."""
    return rank() > 0 or (worker() and OURS in os.environ)
