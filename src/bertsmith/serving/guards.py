"""What stands before the endpoints, as pure ASGI: who may ask, from where, and how much.

The whole body is here before anything of it is looked at, so that an endpoint never waits for a client.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import zlib
from collections.abc import Iterable
from typing import Any

from bertsmith.serving.line import Client
from bertsmith.serving.refused import Refused, body
from bertsmith.serving.server import Server, where

HEADERS = 100  # of a request
ADDRESS = 8192  # bytes
LINGER = 2.0  # seconds that a body which is too large is still listened to
OPEN = ("/", "/docs", "/openapi.json", "/health")  # what is told without the token
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::\d{1,5})?")
ONCE = (b"host", b"content-length", b"content-type", b"content-encoding", b"authorization", b"origin")


def client_of(scope: Any) -> Client:
    return scope["state"]["client"]


class Guard:
    """`local`: bound to this machine alone; `names`: further hosts that it answers as."""

    def __init__(self, app: Any, server: Server, local: bool, names: Iterable[str] = ()):
        self.app, self.server, self.local = app, server, local
        self.paths = {route.path for route in app.routes}
        self.names = {name.lower().rstrip(".") for name in names}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":  # no web sockets, no lifespan
            return
        loop = asyncio.get_running_loop()
        client = scope["state"].setdefault("client", Client())
        # A name of our own, so that nothing of a request is ever a label.
        endpoint, status = scope["path"] if scope["path"] in self.paths else "other", 500

        async def sent(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
                if self.server.state == "draining" or status in (408, 413):
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        client.since = loop.time()
        try:
            await self._guarded(scope, receive, sent, client)
        except Refused as error:
            answer = body(error.status_code, str(error.detail), error.field, error.headers)
            await answer(scope, receive, sent if error.status_code != 413 else self._lingering(receive, sent))
        except Exception as error:  # the endpoints answer for theirs; what comes here has been answered, or is ours
            self.server.say(f"error: {endpoint}: {where(error)}")
        self.server.figures.answered(endpoint, status, loop.time() - client.since)

    async def _guarded(self, scope: Any, receive: Any, send: Any, client: Client) -> None:
        if len(scope["raw_path"]) + len(scope["query_string"]) > ADDRESS:
            raise Refused(414, f"an address has at most {ADDRESS:,} bytes")
        headers = _once(scope["headers"])
        self._check_from(scope, headers)
        trusted = self._trusted(headers)
        scope["state"]["trusted"] = trusted
        if not trusted and scope["path"] not in OPEN:
            answer = body(401, "a token is wanted: Authorization: Bearer TOKEN", "", {"WWW-Authenticate": "Bearer"})
            return await answer(scope, receive, send)
        if scope["method"] != "POST" or scope["path"] not in self.paths:  # 404, 405, or nothing that is read
            return await self.app(scope, receive, send)
        if self.server.state == "draining":
            raise Refused(503, "the server is about to end", after=5)
        content = await self._body(headers, receive)
        if content is None:  # the client went away
            client.gone = True
            return None
        client.since = asyncio.get_running_loop().time()
        line = self.server.line
        if line.full:
            raise Refused(429, f"{self.server.limits.queue} requests are taken already", after=line.after())
        line.taken += 1
        try:
            await self.app(scope, _given(content, receive), send)
        finally:
            line.taken -= 1
        return None

    # -- from whom -------------------------------------------------------------------------------------------------------------------

    def _check_from(self, scope: Any, headers: dict[bytes, bytes]) -> None:
        """A page of another site must not ask: by a name that it lets point here (DNS rebinding), or across origins."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._ours(host):
            raise Refused(
                421, "not a name of this server; it answers to its own address, or names it is told of", "Host"
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            raise Refused(403, "requests of other sites' pages are not answered", "Origin")

    def _ours(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        name = found.group(1).rstrip(".") if found else ""
        if name in self.names or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or not self.local  # an address is no name that could be pointed elsewhere

    def _trusted(self, headers: dict[bytes, bytes]) -> bool:
        if self.server.token is None:
            return True
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.server.token.encode())

    # -- how much --------------------------------------------------------------------------------------------------------------------

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes | None:
        """All of it, unpacked; None where the client went away.  How long that may take is the protocol's business."""
        most = self.server.limits.bytes
        length, chunked = headers.get(b"content-length"), b"transfer-encoding" in headers
        if length is not None and chunked:
            raise Refused(400, "with Transfer-Encoding: one of the two tells how long a body is", "Content-Length")
        if length is not None and (not length.isdigit() or len(length) > 18):
            raise Refused(
                400 if not length.isdigit() else 413, f"a number from 0 to {most} is wanted", "Content-Length"
            )
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Refused(415, "application/json is wanted", "Content-Type")
        packing = headers.get(b"content-encoding", b"identity").strip().lower()
        if packing not in (b"identity", b"gzip", b"deflate"):
            raise Refused(415, "gzip, deflate or nothing is wanted", "Content-Encoding")
        if length is not None and int(length) > most:
            raise self._large()
        parts, total = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            total += len(message.get("body", b""))
            if total > most:
                raise self._large()
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        content = b"".join(parts)
        return content if packing == b"identity" else self._unpacked(content)

    def _lingering(self, receive: Any, send: Any) -> Any:
        """As `send`, but the connection stays for what is still being sent, or a client would never read why it was refused."""

        async def sent(message: Any) -> None:
            if message["type"] != "http.response.body":
                return await send(message)
            await send({**message, "more_body": True})
            left = 4 * self.server.limits.bytes
            try:
                async with asyncio.timeout(LINGER):
                    while left > 0 and (more := await receive())["type"] == "http.request":
                        left -= len(more.get("body", b""))
                        if not more.get("more_body", False):
                            break
            except TimeoutError:
                pass
            return await send({"type": "http.response.body", "body": b"", "more_body": False})

        return sent

    def _unpacked(self, content: bytes) -> bytes:
        """No more of it than a body may have: a bomb ends there."""
        most, unpack = self.server.limits.bytes, zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            found = unpack.decompress(content, most + 1)
        except zlib.error:
            raise Refused(400, "the body is not packed so", "Content-Encoding") from None
        if len(found) > most:
            raise self._large()
        if not unpack.eof:
            raise Refused(400, "the packed body is not whole", "Content-Encoding")
        return found

    def _large(self) -> Refused:
        return Refused(413, f"a body has at most {self.server.limits.bytes:,} bytes, unpacked", "body")


def _once(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name.  Refused where there are too many, or two of one that tells how the rest is read."""
    if len(headers) > HEADERS:
        raise Refused(431, f"{len(headers)} header fields; at most {HEADERS}")
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in ONCE and found.get(name, value) != value:
            raise Refused(400, "stands there twice, and says two things", name.decode("latin-1"))
        found[name] = value
    return found


def _given(content: bytes, receive: Any) -> Any:
    """What an endpoint receives: the body that is here already, and then what the connection says."""
    told = False

    async def received() -> Any:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": content, "more_body": False}

    return received
