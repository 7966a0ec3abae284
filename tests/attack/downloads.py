"""Download from a server that cuts, lies, changes its mind and sends something else: right bytes, or a clear error."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from archives import zip_of
from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from cmr_hub.data import download
from cmr_hub.errors import CMRError

SIZE = 300_000
MAX_BYTES = 2_000_000
CALLS = 3  # of the download, one after another
STALL = 0.6  # seconds
TIMEOUT = 0.4  # of the client
PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>" * 20


@dataclass
class Answer:
    """How the server answers one request.

    Attributes:
        version: number of the content.
        status: "whole", "page", "loop", "away", "file", or a number of an error.
        ranges: whether a range is honoured: "yes", "no", "always" (also when it was not asked for), or "shifted".
        tag: of the entity: "strong", "weak", "none", or "date".
        length: "right", "chunked", "short", "long", "huge" or "nonsense".
        digest: "right", "wrong" or "none".
        cut: bytes after which the connection breaks.
        stall: bytes after which nothing comes for a while.
        packed: whether it is sent compressed, which nobody has asked for.
    """

    version: int
    status: str
    ranges: str
    tag: str
    length: str
    digest: str
    cut: int | None
    stall: int | None
    packed: bool


@dataclass
class Plan:
    """What a try's server does.

    Attributes:
        contents: the versions of the file.
        inside: of an archive, what is in each of them.
        answers: to one request after another; the last one to all that follow.
        whole: the bodies that were announced as a whole file: nothing else may come out.
        strangers: credentials that another host was sent.
    """

    contents: list[bytes]
    inside: list[bytes] | None
    answers: list[Answer]
    whole: list[bytes] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Downloads(Attack):
    """A server on loopback that does everything wrong."""

    name = "downloads"
    tries = 200
    seconds = 30.0

    def prepare(self) -> None:
        self.resources.enter_context(patch.object(download, "PAUSE", 0.001))
        self.plan: Plan | None = None
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler(number)) for number in range(2)]
        for server in self.servers:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            self.resources.callback(server.server_close)
            self.resources.callback(server.shutdown)

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        is_archive = random.random() < 0.25
        made = [random.randbytes(SIZE), random.randbytes(SIZE), random.randbytes(SIZE + 5000)]
        contents = [zip_of({"one.txt": content}) for content in made] if is_archive else made
        answers = [self._answer(random) for _ in range(random.choice([1, 2, 3, 5]))]
        self.plan = plan = Plan(contents, made if is_archive else None, answers)
        odd = [{name: value for name, value in vars(answer).items() if value not in USUAL} for answer in answers]
        attempt.does("an archive" if is_archive else "a file", "; ".join(map(str, odd)))
        folder = self.folder / f"try-{attempt.seed}-{time.monotonic_ns()}"
        url = f"http://user:password@127.0.0.1:{self.servers[0].server_port}/data.zip"
        end = REFUSED
        for _ in range(CALLS):
            with httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as client:
                try:
                    if is_archive:
                        download.fetch_archive(client, url, folder, MAX_BYTES)
                    else:
                        download.download_file(client, url, folder / "data.zip", MAX_BYTES)
                except CMRError as error:
                    if len(str(error)) < 20 or "password" in str(error):
                        raise Failure(f"the message is no good: {error}") from error
                    continue
            end = ANSWERED
            break
        if plan.strangers:
            raise Failure(f"another host was sent {plan.strangers[0]}")
        self._check(folder, plan, end)
        return end

    @staticmethod
    def _check(folder: Path, plan: Plan, end: str) -> None:
        path = folder / ("data.zip" if plan.inside is None else "one.txt")
        if path.exists() != (end == ANSWERED):
            raise Failure(f"{end}, and the file is {'there' if path.exists() else 'missing'}")
        if end == ANSWERED and path.read_bytes() not in (plan.inside or plan.whole):
            raise Failure(f"{path.stat().st_size:,} bytes that no version of the file has")

    @staticmethod
    def _answer(random: random.Random) -> Answer:
        def mostly(usual: Any, *odd: Any) -> Any:
            return usual if random.random() < 0.7 else random.choice(odd)

        return Answer(
            version=random.choice([0, 0, 1, 2]),
            status=mostly("whole", "page", "loop", "away", "file", "404", "500", "503", "416", "412", "204"),
            ranges=mostly("yes", "no", "always", "shifted"),
            tag=random.choice(["strong", "strong", "date", "weak", "none"]),
            length=mostly("right", "chunked", "short", "long", "huge", "nonsense"),
            digest=random.choice(["none", "none", "right", "wrong"]),
            cut=random.choice([None, random.randrange(SIZE), random.randrange(SIZE)]),
            stall=random.randrange(SIZE) if random.random() < 0.08 else None,
            packed=random.random() < 0.08,
        )

    def _handler(self, number: int) -> type[BaseHTTPRequestHandler]:
        attack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                assert attack.plan is not None
                self.close_connection = True
                if number == 1 and (secret := self.headers.get("Authorization")):
                    attack.plan.strangers.append(secret)
                with suppress(OSError):  # the client has had enough
                    attack._send(self, attack.plan)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def _send(self, handler: BaseHTTPRequestHandler, plan: Plan) -> None:
        """Answer one request."""
        answer = plan.next()
        other = f"http://127.0.0.1:{self.servers[1].server_port}/data.zip"
        places = {"loop": handler.path, "away": other, "file": f"file://{self.canary.paths[0]}"}
        if answer.status in places:
            _head(handler, 302, {"Location": places[answer.status], "Content-Length": "0"})
            return
        if answer.status.isdigit():
            _head(handler, int(answer.status), {"Content-Length": "0"})
            return
        content = PAGE if answer.status == "page" else plan.contents[answer.version]
        start, asked = 0, handler.headers.get("Range", "")
        continues = answer.ranges == "always" or _still(handler.headers.get("If-Range"), answer, content)
        if asked and continues and answer.ranges != "no" and answer.status != "page":
            start = min(len(content), int(asked.removeprefix("bytes=").rstrip("-")))
        headers = _entity(answer, content)
        if start or answer.ranges == "always":
            said = start + (7 if answer.ranges == "shifted" else 0)
            headers["Content-Range"] = f"bytes {said}-{len(content) - 1}/{len(content)}"
        body = gzip.compress(content[start:]) if answer.packed else content[start:]
        if answer.packed:
            headers["Content-Encoding"] = "gzip"
        lengths = {"right": len(body), "short": len(body) // 2, "long": len(body) + 100, "huge": 10**15}
        is_chunked = answer.length == "chunked"
        if is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(lengths.get(answer.length, "-1"))
        if not start:
            plan.whole.append(content[: lengths["short"]] if answer.length == "short" else content)
            if answer.packed:
                plan.whole.append(body)
        _head(handler, 206 if "Content-Range" in headers else 200, headers)
        _write(handler, body, answer, is_chunked)


USUAL = ("whole", "yes", "right", "none", None, False)


def _entity(answer: Answer, content: bytes) -> dict[str, str]:
    """Headers that say which version it is."""
    name = hashlib.sha256(content).hexdigest()[:10]
    headers = {"strong": {"ETag": f'"{name}"'}, "weak": {"ETag": f'W/"{name}"'}}.get(answer.tag, {})
    if answer.tag == "date":
        headers = {"Last-Modified": _date(content), "Date": "Sat, 28 Nov 2026 12:00:00 GMT"}
    digest = hashlib.sha256(content if answer.digest == "right" else b"").digest()
    if answer.digest != "none":
        headers = headers | {"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}
    return headers


def _date(content: bytes) -> str:
    return f"Mon, 0{1 + content[0] % 9} Jun 2026 10:{content[1] % 60:02d}:{content[2] % 60:02d} GMT"


def _still(asked: str | None, answer: Answer, content: bytes) -> bool:
    """Whether a range of the version that is asked for can be given."""
    return asked is None or asked in (
        _entity(answer, content).get("ETag"),
        _entity(answer, content).get("Last-Modified"),
    )


def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()


def _write(handler: BaseHTTPRequestHandler, body: bytes, answer: Answer, is_chunked: bool) -> None:
    stop = len(body) if answer.cut is None else min(answer.cut, len(body))
    for start in range(0, stop, 1 << 16):
        piece = body[start : min(start + (1 << 16), stop)]
        if answer.stall is not None and start <= answer.stall < start + (1 << 16):
            time.sleep(STALL)
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if is_chunked else piece)
    if is_chunked and stop == len(body):
        handler.wfile.write(b"0\r\n\r\n")
