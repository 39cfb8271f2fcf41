"""The world of many processes: what all of them learn from one another, and how the end of one becomes the end of all.

Small things travel as JSON over gloo on the CPU, so that they never wait for a device; tensors travel over gloo or, between GPUs, NCCL.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bertsmith.errors import BertsmithError, InputError, Lost, ResourceError, printable, remade
from bertsmith.spelling import again, option
from bertsmith.training import launch
from bertsmith.training.distributed import World
from bertsmith.training.precision import choose_device
from bertsmith.training.stop import Stop

ECHO = 3.0  # seconds between the two ways on which one signal may come
SMALL = 4096  # bytes: what is longer takes a second exchange
REST = 0.25  # seconds
PULSE = 0.5  # seconds between two signs of life
_stores: list[Any] = []  # the one that torchrun's processes meet at: it lives as long as this process
_meetings = 0  # of this process: each has its own names there


@contextmanager
def joined(device: str | None, timeout: float) -> Iterator[World]:
    """`World.join` where torchrun describes more than one process."""
    world = _meet(own_device(device), timedelta(seconds=timeout))
    pulse = Pulse(world._store, world.rank)
    with Stop(echo=ECHO) as world.stop:  # to the end: torchrun tells all to stop where one died, and this one looks who
        try:
            yield world
            pulse.end()
            world._leave()
        except Exception as error:
            ending = world._ending(error)
            if ending is error:
                raise
            raise ending from None
        finally:
            pulse.end()
            # Where the group ends while a thread of gloo lets go of a tensor, each waits for a lock of the other's, for ever.
            time.sleep(REST)
            dist.destroy_process_group()


def _meet(device: torch.device, limit: timedelta) -> Processes:
    global _meetings
    _meetings += 1
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not _stores:
            _stores.append(next(iter(dist.rendezvous("env://", timeout=limit)))[0])
        # A restarted group must not read the addresses of the dead one from a store that outlives both.
        store = dist.PrefixStore(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}.{_meetings}", _stores[0])
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)
        launch.keep(dist.group.WORLD)
    except KeyError as error:
        raise InputError(f"WORLD_SIZE is set, {error} is not; start many processes with torchrun") from None
    except (RuntimeError, ValueError) as error:
        raise ResourceError(f"the processes did not meet within {limit.total_seconds():g} s: {error}") from None
    return Processes(rank, size, store)


class Processes(World):
    """This process among the others."""

    def __init__(self, rank: int, size: int, store: Any):
        self.rank, self.size = rank, size
        self._store, self._parent = store, os.getppid()
        self._heard: signal.Signals | None = None

    @property
    def caught(self) -> signal.Signals | None:
        return self._heard

    def gather(self, value: Any = None, error: BertsmithError | None = None) -> list[Any]:
        mine = {"value": value, "signal": self._own(), "error": error and _told(error)}
        found = [json.loads(part) for part in self._exchange(json.dumps(mine).encode())]
        signals = [part["signal"] for part in found if part["signal"]]
        if signals:
            self._heard = signal.Signals(max(signals))
        for rank, part in enumerate(found):
            if part["error"]:
                raise _from(rank, part["error"])
        return [part["value"] for part in found]

    def collect(self, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        known = self.gather({name: [str(x.dtype).removeprefix("torch."), *x.shape] for name, x in tensors.items()})
        found = {}
        for rank, names in enumerate(known):
            for name, (dtype, *shape) in names.items():
                found[name] = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
                if rank == self.rank:
                    found[name].copy_(tensors[name])
                dist.broadcast(found[name], rank)
        return found

    def put(self, tensor: Tensor, whole: Tensor | None) -> None:
        source = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if self.first:
            source.copy_(whole)
        dist.broadcast(source, 0)
        put(tensor, source)

    def _own(self) -> int:
        """The signal that this process caught, or 0.  A process whose launcher was killed stops as if it had been told to."""
        if self.stop is None:
            return 0
        return int(self.stop.signal or (signal.SIGTERM if os.getppid() != self._parent else 0))

    def _exchange(self, data: bytes) -> list[bytes]:
        """Everyone's bytes, by rank."""
        room = SMALL
        while True:
            mine = np.zeros(room, np.uint8)
            mine[:8] = np.frombuffer(len(data).to_bytes(8, "little"), np.uint8)
            mine[8 : 8 + len(data)] = np.frombuffer(data[: room - 8], np.uint8)
            all_ = torch.empty(self.size * room, dtype=torch.uint8)
            dist.all_gather_into_tensor(all_, torch.from_numpy(mine))
            rows = [row.tobytes() for row in all_.numpy().reshape(self.size, room)]
            lengths = [int.from_bytes(row[:8], "little") for row in rows]
            if max(lengths) <= room - 8:
                return [row[8 : 8 + length] for row, length in zip(rows, lengths, strict=True)]
            room = max(lengths) + 8

    def _leave(self) -> None:
        """Process 0 goes last: it may keep the store."""
        left, until = self._store.add("left", 1), time.monotonic() + 10
        while self.first and left < self.size and time.monotonic() < until:
            time.sleep(0.01)
            left = self._store.add("left", 0)

    def _ending(self, error: Exception) -> Exception:
        """What to raise for `error`: itself, left where the others find it, or why the others are gone.

        A broken connection comes as a RuntimeError of many wordings: whether someone is missing tells more than the words.
        """
        own = isinstance(error, BertsmithError) or not isinstance(error, RuntimeError)
        try:
            if not own:
                told = self._store.compare_set("end", "", "").decode()
                if told:
                    return _from(json.loads(told)["rank"], json.loads(told))
                missing = self._missing()
                if missing:
                    return self._lost(missing)
                if broken(error):
                    return Lost(f"the processes lost one another: {printable(error, 300)}")
            self._store.compare_set("end", "", json.dumps({"rank": self.rank, **_told(error)}))
        except dist.DistError:
            if not (own or self.first):
                return self._lost([0])  # it keeps the store, unless torchrun's agent does
        return error

    def _lost(self, missing: list[int]) -> Lost:
        who = f"process{'es' if len(missing) > 1 else ''} {', '.join(map(str, missing))} of {self.size}"
        return Lost(f"{who} died or did not answer; {again()} goes on")

    def _missing(self) -> list[int]:
        """The processes whose pulse has stopped."""
        before = [self._store.add(f"pulse/{rank}", 0) for rank in range(self.size)]
        time.sleep(6 * PULSE)
        after = [self._store.add(f"pulse/{rank}", 0) for rank in range(self.size)]
        return [rank for rank in range(self.size) if rank != self.rank and before[rank] == after[rank]]


class Pulse(threading.Thread):
    """Counts up in the store, also while the process waits for others: so a process that waits can be told from one that died."""

    def __init__(self, store: Any, rank: int):
        super().__init__(name="pulse", daemon=True)
        self._store, self._key, self._ended = store, f"pulse/{rank}", threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(PULSE):
            try:
                self._store.add(self._key, 1)
            except dist.DistError:
                return  # who kept the store is gone; the next collective says so

    def end(self) -> None:
        self._ended.set()
        self.join()


def own_device(device: str | None) -> torch.device:
    """`choose_device`, each process of a machine on its own GPU."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    chosen = choose_device(device)
    if chosen.type == "cpu" or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return chosen
    if device is not None and ":" in device:
        raise InputError(f"{option('device')}: {device}: many processes take one GPU each; give cuda or cpu")
    chosen = choose_device(f"cuda:{local}")
    torch.cuda.set_device(chosen)
    return chosen


def sharded(tensor: Any) -> bool:
    """Whether FSDP spread it (a DTensor; its module is not loaded for those who need none)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of a sharded tensor, on every process, which must all call this; others as they are."""
    return tensor.full_tensor() if sharded(tensor) else tensor


def own(tensor: Any) -> Tensor:
    """This process's slice of a sharded tensor; others as they are."""
    return tensor.to_local() if sharded(tensor) else tensor


@torch.no_grad()
def put(tensor: Any, whole: Tensor) -> None:
    """This process's part of `whole`, which all hold, into `tensor`, be that whole or sharded."""
    if sharded(tensor):
        from torch.distributed.tensor import distribute_tensor

        whole = distribute_tensor(whole.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
    tensor.copy_(whole)


def broken(error: Exception) -> bool:
    """Whether it is a connection that failed: torch says so as DistError, or as a RuntimeError that names its source file."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)


def _told(error: Exception) -> dict:
    return {"code": getattr(error, "exit_code", 1), "message": str(error) or type(error).__name__}


def _from(rank: int, told: dict) -> BertsmithError:
    error = remade(told["code"], told["message"] if rank == 0 else f"process {rank}: {told['message']}")
    error.agreed = True
    return error
