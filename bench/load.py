"""Clients that ask a server as fast as it answers, each on a connection of its own, from one process.  For bench/serve.py and bench/serve_load.py."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Load:
    """`lost`: requests that were sent on an open connection and never answered; `refused`: connections that nobody took."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # of each answer of status 200
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    span: float = 0.0

    def told(self) -> dict[str, Any]:
        done = sorted(self.seconds)
        at = lambda share: 1000 * done[min(len(done) - 1, int(share * len(done)))] if done else float("nan")
        return {
            "requests_s": round(len(done) / self.span, 1),
            "p50_ms": round(at(0.5), 1),
            "p99_ms": round(at(0.99), 1),
            "mean_ms": round(1000 * statistics.fmean(done), 1) if done else None,
            "statuses": dict(sorted(self.statuses.items())),
            "wrong": len(self.wrong),
            "lost": self.lost,
        }


def request(path: str, asked: Any) -> bytes:
    body = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """(status, body, whether the connection stays); ConnectionError where there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        return int(head.split()[1]), await reader.readexactly(length), "connection: close" not in head
    except asyncio.IncompleteReadError as error:
        raise ConnectionError from error


async def load(
    port: int,
    asked: list[bytes],
    clients: int,
    seconds: float,
    check: Callable[[int, bytes], str] = lambda number, body: "",
    until_refused: bool = False,
) -> Load:
    """`clients` go through `asked` (request n of client c is n * clients + c) for so long, or until nobody is there.

    `check(number, body)`: what is wrong with the answer to a request, "" for nothing.
    """
    found, begin = Load(), time.perf_counter()

    async def client(number: int) -> None:
        connection, used, turn = None, False, 0
        while time.perf_counter() - begin < seconds:
            which = (turn * clients + number) % len(asked)
            try:
                if connection is None:
                    connection, used = await asyncio.open_connection("127.0.0.1", port), False
                start = time.perf_counter()
                connection[1].write(asked[which])
                status, body, stays = await answer(connection[0])
            except ConnectionRefusedError:
                found.refused += 1
                if until_refused:
                    return
                await asyncio.sleep(0.05)
                continue
            except OSError:
                found.lost += used  # one that the system had accepted and the server had not was never taken
                connection = None
                continue
            turn, used = turn + 1, True
            found.statuses[status] = found.statuses.get(status, 0) + 1
            if status == 200:
                found.seconds.append(time.perf_counter() - start)
                if wrong := check(which, body):
                    found.wrong.append(wrong)
            if not stays:
                connection[1].close()
                connection = None
            if status in (429, 503):
                await asyncio.sleep(0.02)
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    found.span = time.perf_counter() - begin
    return found
