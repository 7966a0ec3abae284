"""Slow and endless requests, to a small server of the kind that serves the Space."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cmr_hub.utils.request_limits import BodyLimits, close_silent_connections
from reverse_proxy import free_port

SECONDS = 0.3
LONG = 10.0
MAX = 1_000_000
HEAD = b"POST /gradio_api/run/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"


async def count(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def events(request: Request) -> Response:
    async def slowly():
        for _ in range(3):
            await asyncio.sleep(SECONDS)
            yield b"event\n"

    return StreamingResponse(slowly())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = free_port()
    app = Starlette(
        routes=[Route("/{path:path}", count, methods=["POST"]), Route("/events", events)],
        middleware=[
            Middleware(
                BodyLimits, most_bytes=lambda path: 1000 if path == "/small" else MAX, seconds=SECONDS, rate=10_000
            )
        ],
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    close_silent_connections(server, SECONDS)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(LONG)


def answer_to(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), LONG) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        while block := connection.recv(1 << 16):
            received += block
    return received


def test_connection_without_a_complete_head_is_closed(port: int):
    assert answer_to(port, b"") == b""
    assert answer_to(port, HEAD) == b""


def test_connection_is_closed_where_a_second_request_stays_away(port: int):
    whole = HEAD.replace(b"100", b"3") + b"\r\nabc"
    assert answer_to(port, whole, HEAD).count(b"HTTP/1.1 200") == 1


def test_body_that_does_not_come_is_refused(port: int):
    assert answer_to(port, HEAD + b"\r\n").startswith(b"HTTP/1.1 408")


def test_body_that_drips_is_refused(port: int):
    with socket.create_connection(("127.0.0.1", port), LONG) as connection:
        connection.sendall(HEAD + b"\r\n")
        start = time.monotonic()
        connection.settimeout(SECONDS / 10)
        received = b""
        while not received:
            connection.sendall(b"a")
            try:
                received = connection.recv(100)
            except TimeoutError:
                assert time.monotonic() - start < LONG
    assert received.startswith(b"HTTP/1.1 408")


def test_body_may_take_longer_the_more_of_it_comes(port: int):
    def body() -> Iterator[bytes]:
        for _ in range(4):
            yield b"x" * 10_000
            time.sleep(SECONDS / 2)

    assert httpx.post(f"http://127.0.0.1:{port}/a", content=body()).text == "40000"


def test_answer_may_take_as_long_as_it_likes(port: int):
    assert httpx.get(f"http://127.0.0.1:{port}/events").text == "event\n" * 3


def test_body_that_is_too_large_is_refused_whatever_its_head_says(port: int):
    assert httpx.post(f"http://127.0.0.1:{port}/small", content=b"x" * 1000).text == "1000"
    assert httpx.post(f"http://127.0.0.1:{port}/small", content=iter([b"x" * 600] * 2)).status_code == 413
