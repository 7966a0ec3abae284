"""The endpoints as tools of the Model Context Protocol, as its own client uses them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aside import run_aside
from cmr_hub.retrieval.gallery import Gallery

mcp = pytest.importorskip("mcp")
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

pytestmark = pytest.mark.slow
Result = TypeVar("Result")


def with_session(space: Any, use: Callable[[Any], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with (
            streamable_http_client(f"{space.url}gradio_api/mcp/") as (reading, writing, _),
            mcp.ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await use(session)

    return run_aside(run())


def call(space: Any, tool: str, **arguments: Any) -> Any:
    return with_session(space, lambda session: session.call_tool(tool, arguments))


def test_tools_are_typed_and_described(space: Any):
    tools = {tool.name: tool for tool in with_session(space, lambda session: session.list_tools()).tools}
    assert set(tools) == {
        "galleries",
        "search_text",
        "search_image",
        "search_item",
        "search_combined",
        "min_score",
        "image",
    }
    for tool in tools.values():
        assert tool.description
        assert all(parameter["description"] for parameter in tool.inputSchema["properties"].values())
    assert tools["search_text"].inputSchema["properties"]["target"]["enum"] == ["image", "text"]


def test_text_finds_items(space: Any):
    answer = call(space, "search_text", text="smiling cat", k=5)
    assert not answer.isError
    assert "cat" in answer.content[0].text


def test_image_finds_texts(space: Any, image_file: Path):
    address = "data:image/png;base64," + base64.b64encode(image_file.read_bytes()).decode()
    answer = call(space, "search_image", image=address, target="image", k=1)
    assert "1F436" in answer.content[0].text


def test_several_terms_find_items(space: Any, image_file: Path):
    address = "data:image/png;base64," + base64.b64encode(image_file.read_bytes()).decode()
    answer = call(space, "search_combined", image=address, texts={"smiling cat": 1, "dog": -0.5}, k=3)
    assert not answer.isError
    assert answer.content[0].text.count("score") == 3
    assert call(space, "search_combined", texts={"dog": -0.5}).isError


def test_focus_is_an_argument(space: Any, parts_gallery: Gallery):
    answer = call(space, "search_item", item="item 3", gallery="own-halves", k=1, focus=0)
    assert parts_gallery.search(item="item 3", k=1, focus=0)[0].id in answer.content[0].text
    assert call(space, "search_item", item="item 3", gallery="own-halves", focus=2).isError


def test_image_behind_a_hit(space: Any):
    answer = call(space, "image", item="1F436")
    assert base64.b64decode(answer.content[0].data).startswith(b"\x89PNG")


def test_error_tells_what_to_do(space: Any):
    answer = call(space, "search_text", text="cat", gallery="emojy")
    assert answer.isError
    assert "Did you mean 'emoji'" in answer.content[0].text


def test_files_of_the_server_and_of_its_network_are_not_read(space: Any):
    for address in (str(Path(__file__).resolve()), f"{space.url}gradio_api/info"):
        answer = call(space, "search_image", image=address)
        assert answer.isError
