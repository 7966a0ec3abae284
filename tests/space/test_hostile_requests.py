"""Hostile requests to every function that the app has, through its real server: none opens what was not uploaded."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from gradio.components.api_component import Api
from PIL import Image

from cmr_hub.space import build_app, launch
from cmr_hub.space.services import received_files
from cmr_hub.space.services.preparation import Preparations
from cmr_hub.space.serving import admission
from reverse_proxy import free_port
from small_space import bundled_catalogue

pytestmark = pytest.mark.slow

FILES = (gr.Image, gr.File, gr.UploadButton)
STEP = int(os.environ.get("CMR_TEST_HOSTILE_STEP", "61"))  # 1 for every value in every input
META = {"meta": {"_type": "gradio.FileData"}}
# Values of other types than a function expects; whatever answers, it answers with a message.
WRONG: list[Any] = [
    *({}, [], {"path": None}, {"path": 7}, {"path": ["a"]}, {"path": {"path": "a"}}, [[]], [{}], [None], [["a", "b"]]),
    *(True, False, 0, -1, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "a", "\x00", "\ud800", "../..", "file:///etc/passwd", "http://127.0.0.1/", "x" * 10_000, "<b>", "💥"),
    *({"__type__": "update", "value": 1}, {"a": {"b": {"c": [{"path": "/etc/passwd", **META}]}}}, {"value": "a"}),
    *([1, 2, 3], {"0": 1}, {"_type": "gradio.FileData"}, {"url": "/etc/passwd"}, {"path": "", **META}, None),
]
EVENTS: list[Any] = [
    *(None, [], "a", 3, {}, {"text": {}}, {"item": []}, {"item": 3, "text": None}, {"row": "0", "modality": "image"}),
    *(
        {"row": -1, "modality": "image"},
        {"row": 10**9, "modality": "text"},
        {"row": True},
        {"row": 0, "modality": "x"},
    ),
    *({"value": ["Search"], "index": 0}, {"model": 3}, {"model": "nobody"}, {"text": {"path": "/etc/passwd", **META}}),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole Space on the bundled emoji, and its app."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMR_HUB_CACHE", str(folder / "cache"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        patch.setattr("cmr_hub.space.app.MAX_UPLOAD", 1_000_000)
        catalogue = bundled_catalogue()
        started: list[str] = []
        preparations = Preparations(lambda name: started.append(name) or ["false"], catalogue.refresh)
        app = build_app(catalogue, preparations)
        launch(app, prevent_thread_lock=True, quiet=True, server_port=free_port())
        with httpx.Client(base_url=app.local_url, timeout=60) as client:
            yield SimpleNamespace(app=app, client=client, folder=folder, started=started)
        preparations.close()
        app.close()


@pytest.fixture(scope="module")
def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(file, "PNG")
    return file.getvalue()


_next = itertools.count(1)


def some(values: Iterable[Any]) -> list[Any]:
    """One value in `STEP`, starting elsewhere each time, so that the inputs together get all of them."""
    return list(itertools.islice(values, next(_next) % STEP, None, STEP))


def upload(served: Any, content: bytes, name: str = "mine.png") -> str:
    return served.client.post("/gradio_api/upload", files={"files": (name, content)}).raise_for_status().json()[0]


def run(served: Any, name: str, *data: Any) -> httpx.Response:
    return served.client.post(f"/gradio_api/run/{name}", json={"data": list(data)})


def queued(served: Any, functions: list[tuple[int, list[Any], Any]]) -> list[dict[str, Any]]:
    """What the queue answers in one session to calls of functions by their number, in this order."""
    session = secrets.token_hex(6)
    events = []
    for number, data, event_data in functions:
        body = {"fn_index": number, "data": data, "session_hash": session, "event_data": event_data}
        content = json.dumps(body)  # httpx refuses NaN, which Gradio reads
        answer = served.client.post(
            "/gradio_api/queue/join", content=content, headers={"content-type": "application/json"}
        )
        if answer.status_code == 200:
            events.append(answer.json()["event_id"])
    answers: dict[str, dict[str, Any]] = {}
    with served.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as lines:
        for line in lines.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                answers[message["event_id"]] = message
                if len(answers) == len(events):
                    break
    return [answers[event] for event in events]


def refusal(answer: dict[str, Any]) -> str:
    """The message of a refused call."""
    assert not answer["success"]
    return answer["output"]["error"]


def functions(served: Any) -> list[Any]:
    """Every function that runs on the server, those that no documentation lists too."""
    numbers = {dependency["id"] for dependency in served.app.config["dependencies"]} | set(served.app.fns)
    return [served.app.fns[number] for number in sorted(numbers) if served.app.fns[number].fn is not None]


def honest(component: Any) -> Any:
    """A value that a component may have."""
    if component.stateful or isinstance(component, FILES):
        return None
    if isinstance(component, gr.Slider):
        return component.minimum
    if isinstance(component, gr.Number | gr.Checkbox | gr.JSON):
        return component.value
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return []
    if isinstance(component, Api):
        return 3 if component.api_info().get("type") == "integer" else ""
    return component.value if isinstance(component.value, str) else ""


@pytest.fixture
def hostile_paths(served: Any, image: bytes, tmp_path: Path) -> Iterator[list[str]]:
    """Files of this machine that exist, and are pictures, but were not uploaded by whoever names them."""
    private = tmp_path / "private.png"
    private.write_bytes(image)
    own = Path(upload(served, image))
    root = received_files.root()
    stray, link, inside = root / "stray.png", own.parent / "link.png", root / ("0" * 64)
    stray.write_bytes(image)
    link.symlink_to(private)
    fifo = own.parent / "fifo.png"
    os.mkfifo(fifo)
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "file.png").write_bytes(image)
    with private.open("rb") as opened, own.open("rb") as received:
        descriptors = [f"/proc/{os.getpid()}/fd/{each.fileno()}" for each in (opened, received)]
        names = [
            private,
            stray,
            link,
            fifo,
            inside / "file.png",
            own.parent,
            *descriptors,
            "/etc/passwd",
            "/dev/zero",
        ]
        names += [
            f"{own.parent}/../{own.parent.name}/{own.name}",
            f"{root}//{own.relative_to(root)}",
            own.name,
            "/etc/passwd",
            "/dev/zero",
        ]
        names += [os.path.relpath(own), f"file://{own}", f"{own}\x00.png", f"{own}/", f"{own} "]
        yield [*map(str, names), f"{served.app.local_url}gradio_api/file={own}", "http://127.0.0.1/x.png", "x" * 5000]
    for path in (link, fifo, stray):
        path.unlink()


def shapes(path: str, component: Any) -> list[Any]:
    """A path as file data: bare, as Gradio marks it, by address, as a stream, in lists and deeper."""
    data = [
        *({"path": path}, {"path": path, **META}, {"path": path, "url": path, "is_stream": True, **META}),
        *({"url": path}, {"path": "", "url": f"file://{path}", **META}, {"path": path, "meta": {"_type": "x"}}, path),
    ]
    lists = isinstance(component, gr.File) and component.file_count != "single"
    return [*([each] for each in data), data[0], [[data[0]]]] if lists else [*data, [data[0]], {"image": data[1]}]


def test_every_input_of_every_function_has_a_check(served: Any):
    inputs = [component for each in functions(served) for component in each.inputs if not component.stateful]
    assert {type(component) for component in inputs} >= {gr.Image, gr.File, gr.UploadButton, gr.Textbox, Api}
    for component in inputs:
        assert admission.check_of(component)


def test_no_function_takes_a_path_that_was_not_uploaded(
    served: Any, hostile_paths: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    opened: list[str] = []
    monkeypatch.setattr("cmr_hub.space.services.queries.load_image", lambda path, **_: opened.append(str(path)))
    monkeypatch.setattr(
        "cmr_hub.space.services.user_galleries.read_upload", lambda files, *_: opened.append(str(files))
    )
    before = {path for path in map(Path, hostile_paths[:5]) if path.exists()}
    covered = 0
    for function in functions(served):
        for position, component in enumerate(function.inputs):
            if not isinstance(component, FILES):
                continue
            covered += 1
            calls = []
            for value in some(value for path in hostile_paths for value in shapes(path, component)):
                data = [honest(each) for each in function.inputs]
                data[position] = value
                calls.append((function._id, data, {}))
            for (_, data, _), answer in zip(calls, queued(served, calls), strict=True):
                assert refusal(answer), (function.name, data[position])
    assert covered >= 7
    assert opened == []
    assert {path for path in before if path.exists()} == before
    assert "Traceback" not in caplog.text


def test_file_that_is_there_and_one_that_is_not_get_one_answer(served: Any, hostile_paths: list[str]):
    there = run(served, "search_image", {"path": hostile_paths[0]}, "", "", "text", 3, "", None, None)
    nowhere = run(served, "search_image", {"path": "/nowhere/private.png"}, "", "", "text", 3, "", None, None)
    assert (there.status_code, there.json()["error"]) == (
        422,
        "private.png is no longer on the server. Choose it again.",
    )
    assert there.json() == nowhere.json()


def test_upload_of_another_session_cannot_be_named_by_its_content(served: Any, image: bytes):
    theirs, mine = Path(upload(served, image)), Path(upload(served, image))
    assert theirs.parent.name == mine.parent.name  # Gradio's hash of the content
    assert theirs.parent.parent != mine.parent.parent
    root = received_files.root()
    guesses = [root / mine.relative_to(mine.parents[1]), mine.parents[1] / "x" / mine.parent.name / mine.name]
    for guess in guesses:
        answer = run(served, "search_image", {"path": str(guess), **META}, "", "", "text", 1, "", None, None)
        assert "no longer on the server" in answer.json()["error"]
        assert served.client.get(f"/gradio_api/file={guess}").status_code == 403
    theirs.unlink()
    assert run(served, "search_image", {"path": str(mine)}, "", "", "text", 1, "", None, None).status_code == 200


def test_own_upload_is_taken_by_every_function_that_takes_images(served: Any, image: bytes):
    path = upload(served, image)
    for function in functions(served):
        for position, component in enumerate(function.inputs):
            if isinstance(component, gr.Image | gr.UploadButton):
                data = [honest(each) for each in function.inputs]
                data[position] = {"path": path}
                assert queued(served, [(function._id, data, {})])[0]["success"], function.name


def test_values_of_other_types_get_a_message(served: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)
    for function in functions(served):
        usual = [honest(each) for each in function.inputs]
        reads_event = "event" in inspect.signature(function.fn).parameters
        calls = [(function._id, usual, event) for event in (some(EVENTS) if reads_event else [])]
        for position, component in enumerate(function.inputs):
            if not component.stateful:
                calls += [
                    (function._id, [*usual[:position], value, *usual[position + 1 :]], {}) for value in some(WRONG)
                ]
        calls += [(function._id, usual[:-1], {}), (function._id, [*usual, "more"], {})]
        for answer, call in zip(queued(served, calls), calls, strict=False):
            if not answer["success"]:
                assert answer["output"]["error"], (function.name, call)
                assert "Traceback" not in answer["output"]["error"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_requests_that_no_function_fits_are_refused(served: Any, caplog: pytest.LogCaptureFixture):
    for path in ("run/nothing", "api/nothing", "call/nothing", "call/v2/nothing", "queue/join", "component_server"):
        for body in ({"data": []}, {"data": [], "fn_index": 10**6, "session_hash": "a"}, {"data": 3}, [], {}, "x"):
            answer = served.client.post(f"/gradio_api/{path}", json=body)
            assert 400 <= answer.status_code < 500, (path, body)
    assert "Traceback" not in caplog.text


def test_only_files_of_the_space_are_served(served: Any, image: bytes, hostile_paths: list[str]):
    path = upload(served, image)
    answer = served.client.get(f"/gradio_api/file={path}")
    assert answer.content == image
    for other in hostile_paths:
        if other.startswith("/") and "\x00" not in other and not other.endswith(("file.png", "stray.png")):
            assert served.client.get(f"/gradio_api/file={quote(other, safe='')}").status_code in (403, 404), other
    for closed in (
        "proxy=https://example.org/",
        "file=http://example.org/",
        "process_recording",
        "deep_link",
        "component_server",
        "component_server/",
        "dev/reload",
        "stream/a",
    ):
        for ask in (served.client.get, served.client.post):
            assert ask(f"/gradio_api/{closed}").status_code in (403, 404, 405), closed


def test_upload_that_breaks_off_or_is_none_leaves_nothing(served: Any, image: bytes):
    def uploads() -> set[str]:
        return {path.name for path in received_files.root().iterdir() if path.name.startswith("upload-")}

    before = uploads()
    for content, kind in (
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b"{}", "text/x"),
    ):
        answer = served.client.post("/gradio_api/upload", content=content, headers={"content-type": kind})
        assert answer.status_code == 400
    big = {"files": ("big.png", bytes(served.app.max_file_size + 1))}
    assert served.client.post("/gradio_api/upload", files=big).status_code == 413
    assert uploads() == before


def test_only_what_the_page_offers_is_prepared(served: Any):
    prepare = next(each for each in functions(served) if each.name == "on_prepare" and len(each.inputs) == 1)
    unknown, ready = queued(served, [(prepare._id, [name], {}) for name in ("coco", "emoji")])
    assert not unknown["success"]
    assert ready["success"]  # somebody else has prepared it meanwhile: the page is told how it is
    assert served.started == []


def test_visitors_who_send_the_same_file_do_not_disturb_each_other(served: Any, image: bytes):
    paths: list[str] = []
    threads = [threading.Thread(target=lambda: paths.append(upload(served, image, "same.png"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 4
    received_files.remove(Path(paths[0]))
    assert all(received_files.received_file(path) == Path(path) for path in paths[1:])
