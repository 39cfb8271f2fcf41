"""uvicorn, and how it ends: what was taken is answered, what comes meanwhile is told 503, and then connections are closed."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import uvicorn

from bertsmith.errors import Interrupted, ResourceError
from bertsmith.serving.app import application
from bertsmith.serving.guards import Guard
from bertsmith.serving.protocol import protocol
from bertsmith.serving.server import Server
from bertsmith.spelling import amount

GRACE = 0.5  # seconds that clients with an open connection have to hear of it at least
IDLE = 75  # seconds that a connection may wait for its next request
HEAD = 32_768  # bytes of a request's first line and header fields


class Ending(uvicorn.Server):
    """`ready` is called when it listens.  `left`: requests that were taken and could not be answered in time; `by`: the signal that ends it."""

    def __init__(self, config: uvicorn.Config, server: Server, ready: Callable[[], None] = lambda: None):
        super().__init__(config)
        self.server, self.ready, self.left, self.by = server, ready, 0, 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """By the loop, so that they are heard between two steps of it; as before when it has ended."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        heard = {signal.SIGTERM: self.drain, signal.SIGINT: self.drain, signal.SIGHUP: self._reload}
        for number, hear in heard.items():
            loop.add_signal_handler(number, hear, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def drain(self, number: int) -> None:
        """A second signal does not wait."""
        self.by = number
        if self.server.state == "draining":
            self.force_exit = self.should_exit = True
            self.left = self.server.line.taken
            return
        self.server.state = "draining"
        self.server.say(f"ending: {amount(self.server.line.taken, 'request')} to answer")
        self._task = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        begin, line = loop.time(), self.server.line
        while (now := loop.time() - begin) < GRACE or (line.taken and now < self.server.limits.drain):
            await asyncio.sleep(0.02)
        self.left = line.taken
        self.should_exit = True

    def _reload(self, number: int) -> None:
        self._again = asyncio.get_running_loop().create_task(self.server.reload())


def run(
    server: Server, taken: socket.socket, local: bool, names: Iterable[str], ready: Callable[[], None] = lambda: None
) -> None:
    """Until a signal ends it.  Interrupted where that left requests unanswered."""
    ending = Ending(config(server, local, names), server, ready)
    try:
        asyncio.run(ending.serve([taken]))
    except OSError as error:  # another came first
        raise ResourceError(f"port {taken.getsockname()[1]}: {error.strerror}") from None
    if ending.left:
        raise Interrupted(f"{amount(ending.left, 'request')} could not be answered in time", ending.by)
    server.say("ended: every request that was taken is answered")


def config(server: Server, local: bool, names: Iterable[str] = ()) -> uvicorn.Config:
    """Nothing of a request is logged: what is counted stands in /metrics."""
    limits = server.limits
    return uvicorn.Config(
        Guard(application(server), server, local, names),
        http=protocol(limits.slow, limits.connections),
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=1,
    )
