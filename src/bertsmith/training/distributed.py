"""Many processes as one: who is here, what all of them learn from one another.  This is the world of a process by itself; that of many,
which needs torch, stands in processes.py.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bertsmith.errors import BertsmithError, InputError, printable
from bertsmith.training.run import differences
from bertsmith.training.stop import Stop

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TIMEOUT = 300.0  # seconds: longer than saving a large step or planning an epoch takes


class World:
    """The processes of one run, as each of them sees it.  Alone every method is free and changes nothing."""

    rank, size = 0, 1
    stop: Stop | None = None

    @classmethod
    @contextmanager
    def join(cls, device: str | None, timeout: float) -> Iterator[World]:
        """The world that torchrun describes in the environment; alone where there is none.

        `timeout`: seconds that a process waits for the others before it gives up.  An error that ends one process ends all, each
        with that error; ResourceError naming the process where one was lost.
        """
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            yield cls()
            return
        from bertsmith.training.processes import joined

        with joined(device, timeout) as world:
            yield world

    @property
    def share(self) -> float:
        """Of all processes, those on this machine."""
        return min(self.size, int(os.environ.get("LOCAL_WORLD_SIZE", self.size))) / self.size

    @property
    def first(self) -> bool:
        """Process 0: it alone speaks and writes."""
        return self.rank == 0

    @property
    def caught(self) -> signal.Signals | None:
        """SIGINT or SIGTERM, once all have heard that one of them caught it: so all stop at the same step."""
        return self.stop and self.stop.signal

    def asked(self) -> bool:
        """Whether to stop."""
        return self.caught is not None

    def gather(self, value: Any = None, error: BertsmithError | None = None) -> list[Any]:
        """Every process's `value` (what JSON can hold), by rank; where one brings an error instead, all raise it."""
        return [value]

    def tell(self, value: Any = None) -> Any:
        """Process 0's `value`, on all."""
        return self.gather(value if self.first else None)[0]

    def collect(self, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """The tensors of all processes, on each of them, on `device`; of one name those of the highest rank."""
        return tensors

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What one process raises in this block, all raise at its end.  All its collectives must be `gather` or `tell`."""
        try:
            yield
        except BertsmithError as error:
            if self.size == 1 or error.agreed:
                raise
            self.gather(error=error)
        else:
            self.gather()

    def check_same(self, what: dict) -> None:
        """InputError naming the first field in which a process differs from process 0: another store, recipe or version."""
        first = self.tell(what)
        with self.agreed():
            for field, theirs, ours in differences(first, json.loads(json.dumps(what)), ""):
                raise InputError(
                    f"{field.strip('.')}: {printable(repr(ours), 80)} here, {printable(repr(theirs), 80)} at process 0; "
                    "all processes need the same command, version and store"
                )

    def put(self, tensor: Tensor, whole: Tensor | None) -> None:
        """Process 0's `whole` into every process's `tensor`, be that whole or sharded."""
        tensor.copy_(whole)


ALONE = World()
