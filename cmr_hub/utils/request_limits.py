"""Limits of the time and size of requests, so that slow or endless ones do not occupy the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_SECONDS = 20.0  # for the head of a request, from when the connection is made
BODY_SECONDS = 30.0  # for a body, in addition to what it takes at the slowest rate
MIN_RATE = 10_000  # bytes per second


class BodyLimits:
    """ASGI middleware that refuses a body that is too large (413) or comes too slowly (408).

    Args:
        app: what answers requests.
        most_bytes: how many bytes a request to a path may have.
        seconds, rate: a body of `n` bytes may take `seconds + n / rate`.
    """

    def __init__(
        self,
        app: ASGIApp,
        most_bytes: Callable[[str], int],
        seconds: float = BODY_SECONDS,
        rate: float = MIN_RATE,
    ):
        self.app, self.most_bytes, self.seconds, self.rate = app, most_bytes, seconds, rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        limited = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        await self.app(scope, self._limited(receive, self.most_bytes(scope["path"])) if limited else receive, send)

    def _limited(self, receive: Receive, most: int) -> Receive:
        clock = asyncio.get_running_loop().time
        started, received, is_complete = clock(), 0, False

        async def limited() -> Message:
            nonlocal received, is_complete
            if is_complete:  # later messages say when the visitor leaves
                return await receive()
            try:
                async with asyncio.timeout_at(started + self.seconds + received / self.rate):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "The request came too slowly.", {"Connection": "close"}) from error
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, f"A request may have {most:,} bytes here.", {"Connection": "close"})
            is_complete = not message.get("more_body", False)
            return message

        return limited


def close_silent_connections(server: Any, seconds: float = HEAD_SECONDS) -> None:
    """Have a server close connections that send no complete head of a request in time.

    Args:
        server: a `uvicorn.Server`, which has no such limit of its own; running or not.
        seconds: how long it waits; twice as long after an earlier request.
    """
    if not server.config.loaded:
        server.config.load()
    protocol: Any = server.config.http_protocol_class

    class Impatient(protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._idle_since_request: Any = None  # the latest request when the connection was last found idle
            self.loop.call_later(seconds, self._look)

        def _look(self) -> None:
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            is_idle = self.cycle is None or self.cycle.response_complete
            if is_idle and self.cycle is self._idle_since_request:
                self.transport.close()
                return
            self._idle_since_request = self.cycle if is_idle else self
            self.loop.call_later(seconds, self._look)

    server.config.http_protocol_class = Impatient
