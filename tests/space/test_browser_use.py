"""What is on screen as code, in a real browser, and run against the very server."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from browsing import DESK, HIT, PHONE, Page, expect, open_view, overflow, serious_findings
from cmr_hub.space import build_app, launch
from reverse_proxy import free_port, reverse_proxy
from small_space import bundled_catalogue

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PATH = "/spaces/cmr"


def code(page: Page, part: str) -> str:
    """The text of a code box, as its lines have it."""
    expect(page.locator(f"{part} .cm-line").first).not_to_have_text("")
    return "\n".join(page.locator(f"{part} .cm-line").all_text_contents())


def run(program: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(program, "shown", "exec"), names)
    return names


def test_the_clients_call_finds_what_the_page_has_found(page: Page, space: Any):
    shown = page.locator(HIT).evaluate_all("hits => hits.map((hit) => hit.dataset.item)")
    open_view(page, "Use it")
    program = code(page, "#cmr-client")
    assert f'Client("{space.url}")' in program
    assert [hit["id"] for hit in run(program)["hits"]] == shown


def test_an_uploaded_image_is_asked_by_a_file(page: Page, image_file: Path, monkeypatch: pytest.MonkeyPatch):
    page.set_input_files("#cmr-image input[type=file]", image_file)
    expect(page.locator(".cmr-texts .cmr-hit").first).to_be_visible()
    shown = page.locator(HIT).evaluate_all("hits => hits.map((hit) => hit.dataset.item)")
    open_view(page, "Use it")
    program = code(page, "#cmr-client")
    assert "/tmp" not in program
    monkeypatch.chdir(image_file.parent)
    image_file.rename("photo.jpg")
    assert [hit["id"] for hit in run(program)["hits"]] == shown


def test_code_follows_the_question_and_is_copied(page: Page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_view(page, "Use it")
    expect(page.locator("#cmr-python .cm-content")).to_contain_text("gallery.search(text=")
    open_view(page, "Search")
    page.locator(HIT).first.click()
    expect(page.locator("#cmr-results .cmr-summary")).to_contain_text("share its class")
    open_view(page, "Use it")
    expect(page.locator("#cmr-python .cm-content")).to_contain_text("gallery.search(item=")
    expect(page.locator("#cmr-client .cm-content")).to_contain_text("/search_item")
    page.locator("#cmr-python").hover()
    page.locator("#cmr-python button[aria-label='Copy'], #cmr-python button[title='Copy']").first.click()
    assert page.evaluate("navigator.clipboard.readText()") == code(page, "#cmr-python")


def test_the_card_is_read_as_a_page(page: Page):
    open_view(page, "Use it")
    expect(page.locator("#cmr-card h2", has_text="Training")).to_be_visible()
    expect(page.locator("#cmr-card table").first).to_be_visible()
    expect(page.locator("#cmr-card")).not_to_contain_text("model-index")


def test_addresses_are_those_by_which_the_page_is_reached(browser: Any):
    """Behind a proxy, and under a path."""
    app = build_app(bundled_catalogue(["emoji"]))
    launch(app, prevent_thread_lock=True, quiet=True, server_port=free_port(), root_path=PATH)
    with reverse_proxy(app.local_url.removesuffix("/").removesuffix(PATH), PATH) as address:
        page = browser.new_page()
        page.goto(f"{address}?view=use")
        program = code(page, "#cmr-client")
        assert f'Client("{address}")' in program
        assert len(run(program)["hits"]) == 12
        settings = json.loads(code(page, "#cmr-mcp"))
        assert settings["mcpServers"]["cmr_hub"]["url"] == f"{address}gradio_api/mcp/"
        page.close()
    app.close()


@pytest.mark.parametrize("page", [DESK, PHONE], indirect=True)
def test_nothing_keeps_people_from_using_it(page: Page):
    open_view(page, "Use it")
    code(page, "#cmr-client")
    expect(page.locator("#cmr-card table").first).to_be_visible()
    assert overflow(page) <= 0
    assert serious_findings(page) == []


def test_it_can_be_read_in_the_dark(page: Page):
    dark = page.context.new_page()
    dark.goto(f"{page.url}?view=use&__theme=dark")
    code(dark, "#cmr-client")
    assert serious_findings(dark) == []
    dark.close()
