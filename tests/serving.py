"""A server in this process, on a port of its own, and clients that are as rude as a test wants them."""

import asyncio
import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from bertsmith.serving.ending import Ending, config
from bertsmith.serving.limits import limits
from bertsmith.serving.serve import named
from bertsmith.serving.server import Server
from bertsmith.serving.shelf import Shelf
from bertsmith.spelling import typed

JSON = {"Content-Type": "application/json"}


class Running:
    """`models`: as `serve` takes them; `set`: its limits."""

    def __init__(self, *models: str | Path, token: str | None = None, names: tuple[str, ...] = (), **set: float):
        self.said: list[str] = []
        self.taken = socket.socket()
        self.taken.bind(("127.0.0.1", 0))
        self.port = self.taken.getsockname()[1]
        shelf = Shelf(named(models), {"device": "cpu", "members": ()}, self.said.append)
        shelf.open()
        self.server = Server(shelf, limits(set), self.said.append, token)
        for served in shelf:
            self.server.warm(served)
        self.ending = Ending(config(self.server, True, names), self.server)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self.ending.started:
            time.sleep(0.01)

    def _run(self) -> None:
        with typed(False):
            asyncio.run(self.ending.serve([self.taken]))

    def close(self) -> None:
        self.ending.should_exit = self.ending.force_exit = True
        self._thread.join(10)
        self.server.close()

    def ask(self, path: str, asked: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """(status, what it says, header fields); POST where something is asked, which may be bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            content = asked if isinstance(asked, bytes) or asked is None else json.dumps(asked).encode()
            sent = {**({} if asked is None else JSON), **{k.replace("_", "-"): v for k, v in headers.items()}}
            connection.request("GET" if asked is None else "POST", path, content, sent)
            return told(connection.getresponse())
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, *parts: bytes, pause: float = 0.0) -> tuple[int, Any, dict[str, str]]:
        """Bytes as they are, and what comes back; status 0 where that is nothing."""
        with self.raw() as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            return heard(connection)

    def field(self, path: str, asked: Any, **headers: str) -> tuple[int, str]:
        """(status, the field that the error names)."""
        status, said, _ = self.ask(path, asked, **headers)
        assert set(said["error"]) == {"field", "message"} and said["error"]["message"]
        return status, said["error"]["field"]


def told(response: http.client.HTTPResponse) -> tuple[int, Any, dict[str, str]]:
    content = response.read()
    plain = response.getheader("Content-Type", "") != "application/json"
    fields = {name.lower(): value for name, value in response.getheaders()}
    return response.status, content.decode() if plain else json.loads(content), fields


def heard(connection: socket.socket) -> tuple[int, Any, dict[str, str]]:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
    except (http.client.BadStatusLine, ConnectionError):
        return 0, None, {}
    return told(response)


def head(path: str, *fields: str, method: str = "POST", host: str = "localhost") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
