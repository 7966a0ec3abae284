"""A reverse proxy on loopback that serves another server under a path, as a host's front does."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def reverse_proxy(target: str, path: str) -> Iterator[str]:
    """Serve what is at `target` under `path` of an address of its own, which is given; elsewhere it is 404."""
    port = free_port()
    config = uvicorn.Config(_proxy(target, path), host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    try:
        yield f"http://127.0.0.1:{port}{path}/"
    finally:
        server.should_exit = server.force_exit = True  # streams of events to open pages never end by themselves
        thread.join(10)


def _proxy(target: str, path: str) -> Starlette:
    client = httpx.AsyncClient(base_url=target, timeout=None)

    async def forward(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        headers |= {"x-forwarded-proto": request.url.scheme, "x-forwarded-host": request.headers["host"]}
        sent = client.build_request(
            request.method,
            "/" + request.path_params["rest"],
            params=request.query_params,
            headers=headers,
            content=await request.body(),
        )
        answer = await client.send(sent, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP}
        return StreamingResponse(_body(answer), answer.status_code, kept)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    return Starlette(routes=[Route(path + "/{rest:path}", forward, methods=METHODS)], lifespan=life)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    # Raw, so that events arrive one by one and compressed pages stay so.
    async for chunk in answer.aiter_raw():
        yield chunk
    await answer.aclose()
