"""Send the Space what no page sends: to each of its functions, by name and by number, and past them."""

from __future__ import annotations

import io
import json
import random
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from hostile import BILLION
from space_server import SpaceServer

API = "/gradio_api"
TIMEOUT = 30.0
GOOD = ["smiling cat", "", "", "image", 3, "", None]  # arguments of search_text
OWN_ERRORS = ("cmr_hub.errors.", "gradio.exceptions.Error")


class Requests(Attack):
    """Raw requests to every function of the Space."""

    name = "requests"
    tries = 400
    seconds = 60.0

    def canary_files(self) -> Mapping[str, bytes]:
        return {"image.png": _png("purple"), "secret.txt": b"a secret", "table.csv": b"file_name,text\n"}

    def prepare(self) -> None:
        self.server = self.resources.enter_context(SpaceServer(self.folder / "space"))
        self.client = self.resources.enter_context(httpx2.Client(base_url=self.server.url, timeout=TIMEOUT))
        self.trap = self.resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.trap.setblocking(False)
        config = self.client.get("/config").json()
        self.functions = [function for function in config["dependencies"] if function["backend_fn"]]
        self.components = {component["id"]: component for component in config["components"]}
        self.own = self._upload("own.png", _png("green"))
        # Another visitor's upload, which nobody may have opened who was not told its path.
        other = Path(self._upload("other.png", _png("orange")))
        self.canary.watch(other.parent)
        self.guesses = [
            str(other.parents[1] / folder / "other.png") for folder in ("*", "", "..", "upload-" + "a" * 32)
        ]
        self._check_answers()

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        ways = [self._by_name, self._by_number, self._by_number, self._by_number, self._past_functions]
        number = random.randrange(len(self.functions))
        try:
            response = random.choice(ways)(self.functions[number], random, attempt)
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            response = '{"error": "the connection was closed"}'
        end = self._judge(response)
        self._check_answers()
        return end

    def _by_name(self, function: Mapping[str, Any], random: random.Random, attempt: Attempt) -> str:
        names = [each for each in self.functions if isinstance(each["api_name"], str)]
        function = random.choice(names)
        data = self._data(function, random)
        body = {"data": data, "session_hash": _session(random)}
        name = function["api_name"]
        attempt.does("by name", f"{name}: {_short(data)}")
        if random.random() < 0.5:
            return self._send("POST", f"{API}/run/{name}", body)
        called = self._send("POST", f"{API}/call/{name}", body)
        found = re.search(r'"event_id":\s*"(\w+)"', called)
        return self._stream(f"{API}/call/{name}/{found[1]}") if found else called

    def _by_number(self, function: Mapping[str, Any], random: random.Random, attempt: Attempt) -> str:
        data, session = self._data(function, random), _session(random)
        target = function["targets"][0][1] if function["targets"] else ""
        attempt.does("by number", f"{function['id']} ({function['api_name'] or target}): {_short(data)}")
        body = {"data": data, "fn_index": function["id"], "session_hash": session, "event_data": self._value(random)}
        if random.random() < 0.8:
            body["event_data"] = None
        joined = self._send("POST", f"{API}/queue/join", body)
        if '"event_id"' not in joined:
            return joined
        return self._stream(f"{API}/queue/data?session_hash={session}")

    def _past_functions(self, function: Mapping[str, Any], random: random.Random, attempt: Attempt) -> str:
        """The routes that Gradio has in addition to functions."""
        secret = random.choice(self.canary.paths)
        trap = f"http://127.0.0.1:{self.trap.getsockname()[1]}/x.png"
        paths = [
            f"{API}/file={secret}",
            f"{API}/file=../../../../../../..{secret}",
            f"{API}/file=/proc/self/fd/{random.randrange(3, 40)}",
            f"{API}/file=/proc/self/environ",
            f"{API}/file=%2e%2e/%2e%2e{secret}",
            f"{API}/file=file://{secret}",
            f"{API}/file={trap}",
            f"{API}/proxy={trap}",
            f"{API}/stream/{secret}",
            f"{API}/custom_component/..%2f..%2f{secret}/x/component/index.js",
            f"/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..{secret}",
            f"/assets/..%2f..%2f..%2f..{secret}",
            f"/?gallery={'%00' * 50}&view=../../..&query={'x' * 3000}",
            f"/?gallery=own-{'a' * 22}&item=%ff%fe&model=__class__&query=%F0%9F%98%80",
            f"{API}/queue/data?session_hash={'x' * 5000}",
        ]
        bodies: list[tuple[str, bytes]] = [
            (f"{API}/run/search_text", b"[" * 100_000),
            (f"{API}/run/search_text", b'{"data": ' * 20_000),
            (f"{API}/run/search_text", b'{"data": "' + b"x" * 2_000_000 + b'"}'),
            (f"{API}/queue/join", b'{"fn_index": 1e400, "data": null}'),
            (f"{API}/queue/join", b'{"fn_index": -1, "data": [], "session_hash": "a"}'),
            (f"{API}/queue/join", b'{"fn_index": 99999, "data": [], "session_hash": "a"}'),
            (f"{API}/run/predict", b'{"fn_index": 0, "data": []}'),
            (
                f"{API}/component_server",
                b'{"component_id": 1, "fn_name": "__init__", "data": [], "session_hash": "a"}',
            ),
            (f"{API}/reset", b'{"event_id": "x"}'),
            (f"{API}/cancel", b'{"session_hash": "a", "fn_index": 0, "event_id": "x"}'),
        ]
        way = random.choice(["path", "path", "body", "upload"])
        if way == "path":
            path = random.choice(paths)
            attempt.does("past functions", f"GET {path[:150]}")
            return self._send("GET", path)
        if way == "body":
            path, body = random.choice(bodies)
            attempt.does("past functions", f"POST {path} {len(body):,} bytes: {body[:60]!r}")
            return self._send("POST", path, body)
        name = random.choice(
            ["../../../x.png", "a" * 300 + ".png", "\x00.png", "..", "CON", "x/../../y.png", "é😀.png"]
        )
        attempt.does("past functions", f"upload {name!r:.60}")
        response = self.client.post(f"{API}/upload", files={"files": (name, _png("red"))})
        self._check_status(response)
        outside = [path for path in response.json() if not Path(path).resolve().is_relative_to(self.server.uploads)]
        if response.is_success and outside:
            raise Failure(f"an upload lies at {outside[0]}")
        return response.text

    def _data(self, function: Mapping[str, Any], random: random.Random) -> list[Any]:
        """Arguments of a function: those that the page gives, hostile ones, or both."""
        hostile = random.choice([0.15, 0.4, 1.0])
        data = [
            self._value(random) if random.random() < hostile else self._usual(function, number, random)
            for number in range(len(function["inputs"]))
        ]
        if random.random() < 0.1:
            data = data[:-1] if random.random() < 0.5 else [*data, *data]
        return data

    def _usual(self, function: Mapping[str, Any], number: int, random: random.Random) -> Any:
        """What a page might give, but for files, which are never those of the session."""
        if function["api_name"] == "search_text":
            return GOOD[number]
        component = self.components[function["inputs"][number]]
        if component["type"] == "image":
            return self._file(random)
        if component["type"] == "file":
            return [self._file(random)]
        value = component["props"].get("value")
        return random.choice(["cat", "1F436", "emoji", "text", "image", ""]) if value is None else value

    def _file(self, random: random.Random) -> dict[str, Any]:
        """A file as Gradio's pages name one, that this session has not uploaded."""
        secret = str(random.choice(self.canary.paths))
        trap = f"http://127.0.0.1:{self.trap.getsockname()[1]}/x.png"
        path = random.choice(
            [
                secret,
                secret,
                random.choice(self.guesses),
                f"/proc/self/fd/{random.randrange(3, 60)}",
                "/proc/self/environ",
                "/dev/zero",
                f"{self.own}/../../{'../' * 12}{secret}",
                trap,
                f"file://{secret}",
                "",
                "\x00",
                "x" * 5000,
                ".",
            ]
        )
        file: dict[str, Any] = {"path": path}
        if random.random() < 0.5:
            file["meta"] = {"_type": "gradio.FileData"}
        if random.random() < 0.3:
            file |= {"url": random.choice([trap, f"file://{secret}", secret]), "orig_name": "../../x.zip"}
        return file

    def _value(self, random: random.Random) -> Any:
        secret, file = str(random.choice(self.canary.paths)), self._file(random)
        trap = f"http://127.0.0.1:{self.trap.getsockname()[1]}/x.png"
        kinds: list[Any] = [
            *(file, file, file, [file], [[file]], {"image": file}, [[file, "caption"]], {"files": [file]}),
            *(secret, trap, "😀" * 500, "\ud7ff\u202e\u0000", "x" * 100_000, "<script>alert(1)</script>", "own-x"),
            *(-1, 0, BILLION, 2**70, 1.5, float("nan"), float("inf"), True, None, [], {}, [[]], [None] * 1000),
            *({"__type__": "update", "value": secret}, {"_type": "gradio.FileData", **file}, _nested(90), "../../etc"),
        ]
        return random.choice(kinds)

    def _upload(self, name: str, content: bytes) -> str:
        return self.client.post(f"{API}/upload", files={"files": (name, content)}).raise_for_status().json()[0]

    def _send(self, method: str, path: str, body: Any = None) -> str:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with self.client.stream(method, path, content=content, headers=headers) as response:
            if "event-stream" in response.headers.get("Content-Type", ""):
                return self._lines(response)
            response.read()
        self._check_status(response)
        return response.text

    def _stream(self, path: str) -> str:
        """What an event stream says until the function is over."""
        with self.client.stream("GET", path) as response:
            return self._lines(response)

    @staticmethod
    def _lines(response: httpx2.Response) -> str:
        lines, over = [], False
        for line in response.iter_lines():
            lines.append(line)
            if over or "process_completed" in line or "close_stream" in line or "unexpected_error" in line:
                break
            over = line in ("event: complete", "event: error")  # the data follow in the next line
        return "\n".join(lines)

    @staticmethod
    def _check_status(response: httpx2.Response) -> None:
        if response.status_code >= 500 and 'File "' in response.text:
            raise Failure(f"status {response.status_code} with a traceback: {response.text[:200]}")

    def _judge(self, response: str) -> str:
        log = self.server.new_log()
        if "Traceback" in response:
            raise Failure(f"a traceback is sent: {response[-300:]}")
        if "a secret" in response:
            raise Failure("the secret is sent")
        for block in log.split("Traceback (most recent call last):")[1:]:
            frames = re.findall(r'File ".*/(cmr_hub/.*?)", line (\d+)', block)
            last = next((line for line in block.splitlines() if line and not line.startswith(" ")), "")
            if frames and not last.startswith(OWN_ERRORS):
                raise Failure(f"raw exception in {':'.join(frames[-1])}: {last[:200]}")
        try:
            self.trap.accept()[0].close()
        except BlockingIOError:
            pass
        else:
            raise Failure("the server asked another address")
        self.server.check_alive()
        is_error = '"error"' in response or '"success":false' in response or "event: error" in response
        return REFUSED if is_error or '"detail"' in response else ANSWERED

    def _check_answers(self) -> None:
        """Ask a good question."""
        response = self.client.post(f"{API}/run/search_text", json={"data": GOOD})
        if response.status_code != 200 or len(response.json()["data"][0]) != 3:
            raise Failure(f"a good question gets {response.status_code}: {response.text[:200]}")


def _session(random: random.Random) -> str:
    return f"{random.getrandbits(60):x}"


def _png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _short(data: list[Any]) -> str:
    return ", ".join(ascii(value)[:70] for value in data)
