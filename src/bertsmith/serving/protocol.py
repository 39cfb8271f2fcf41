"""HTTP/1.1 as uvicorn reads it, with what it leaves out: a request has so long to come, and a client so long to take its answer."""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bertsmith.serving.line import Client
from bertsmith.serving.refused import shape


def protocol(slow: float, connections: int) -> type[H11Protocol]:
    """`slow`: seconds; `connections`: at once."""

    class Watched(H11Protocol):
        _coming: asyncio.TimerHandle | None = None  # while a request is on its way, from its first byte
        _taking: asyncio.TimerHandle | None = None  # while a client lets an answer wait

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                return self._end(503, f"{connections} connections are open already")
            self._coming = self.loop.call_later(slow, self._late)
            return None

        def connection_lost(self, exc: Exception | None) -> None:
            self._still("_coming")
            self._still("_taking")
            client = self.scope["state"].get("client") if self.scope else None
            if isinstance(client, Client):
                client.gone = True  # nobody is left who would read it
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._coming is None and self.conn.their_state in (h11.IDLE, h11.DONE):
                self._coming = self.loop.call_later(slow, self._late)
            super().data_received(data)

        def handle_events(self) -> None:
            super().handle_events()
            if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
                self._still("_coming")

        def pause_writing(self) -> None:
            super().pause_writing()
            self._still("_taking")
            self._taking = self.loop.call_later(slow, self.transport.abort)

        def resume_writing(self) -> None:
            self._still("_taking")
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            status = getattr(sys.exc_info()[1], "error_status_hint", 400)
            self._end(status, "not a request of HTTP/1.1" if status == 400 else HTTPStatus(status).phrase.lower())

        def _late(self) -> None:
            self._coming = None
            if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
                self.transport.close()  # a connection on which nothing ever came
            else:
                self._end(408, f"a request has {slow:g} s to come")

        def _end(self, status: int, message: str) -> None:
            """Tells it, unless an answer has begun, and closes."""
            if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
                text = json.dumps(shape(message)).encode()
                head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
                head += f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
                self.transport.write(head.encode() + text)
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.close()

        def _still(self, name: str) -> None:
            timer: asyncio.TimerHandle | None = getattr(self, name)
            if timer is not None:
                timer.cancel()
                setattr(self, name, None)

    return Watched
