"""A loopback HTTP server with ranges and faults on demand, in the place of an official download page."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def etag(content: bytes) -> str:
    """A strong ETag."""
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


class FileServer:
    """Serves `files` (path -> bytes).

    Attributes:
        requests: (path, Range header or None) of each request so far.
        authorizations: the Authorization header of each, or None.
        cut: path -> bytes after which the connection breaks, once.
        replaced: path -> content from the next request on.
        redirects: path -> address that it leads to.
        statuses: path -> status of an answer without content.
        ranges: whether the server honours ranges.
        conditions: whether it honours `If-Range`.
        announce_length: whether it tells how long a file is.
        headers: header -> function of the content that gives its value.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.authorizations: list[str | None] = []
        self.cut: dict[str, int] = {}
        self.replaced: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, Callable[[bytes], str]] = {"ETag": etag}
        self.ranges = self.conditions = True
        self.announce_length = True
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                files.requests.append((self.path, asked))
                files.authorizations.append(self.headers.get("Authorization"))
                content = files.files.get(self.path)
                if self.path in files.replaced:
                    files.files[self.path] = files.replaced.pop(self.path)
                if self.path in files.statuses:
                    self.send_response(files.statuses[self.path])
                    self.end_headers()
                    return
                if self.path in files.redirects:
                    self.send_response(302)
                    self.send_header("Location", files.redirects[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if content is None:
                    self.send_error(404)
                    return
                own = {name: value(content) for name, value in files.headers.items()}
                condition = self.headers.get("If-Range")
                has_changed = files.conditions and condition and condition not in own.values()
                applies = asked and files.ranges and not has_changed
                start = int(asked.removeprefix("bytes=").rstrip("-")) if applies else 0
                if start and start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                for name, value in own.items():
                    self.send_header(name, value)
                if files.announce_length:
                    self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                with suppress(ConnectionError):  # a client that is interrupted
                    self.wfile.write(content[start : files.cut.pop(self.path, None)])

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[FileServer]:
    served = FileServer()
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.http.shutdown()
    thread.join()
    served.http.server_close()
