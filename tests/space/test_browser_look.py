"""Where a model looks, in a real browser: a small gallery of a model that attends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attending import captioned, red_seeker, spotted
from browsing import DESK, PHONE, Page, expect, open_view, overflow, serious_findings
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space import build_app, launch
from reverse_proxy import free_port
from small_space import bundled_catalogue

pytestmark = [pytest.mark.slow, pytest.mark.browser]

STEP = "#cmr-looks .cmr-step"


@pytest.fixture(scope="module")
def space() -> Iterator[Any]:
    """A Space that opens on a gallery of red spots, and has the emoji, too."""
    catalogue = bundled_catalogue(["emoji"])
    items = captioned(
        [spotted(row, column) for row in range(2) for column in range(4)],
        [[f"a red square number {number}"] for number in range(8)],
    )
    catalogue.add_own("red", "Red spots", {"dan": Gallery.from_dataset(items, red_seeker(), cache=False)})
    catalogue.names.insert(0, "red")
    app = build_app(catalogue)
    launch(app, prevent_thread_lock=True, quiet=True, server_port=free_port())
    yield SimpleNamespace(url=app.local_url)
    app.close()


def expect_look_at(page: Page, where: str) -> None:
    alt = f"Step 1 weighs {where} of the image most, one of 16 regions"
    expect(page.locator(f"{STEP} img").nth(1)).to_have_attribute("alt", alt)


def test_models_that_do_not_attend_have_no_such_tab(page: Page):
    expect(page.get_by_role("tab", name="Look")).to_have_count(1)
    page.locator("#cmr-gallery input").click()
    page.get_by_role("option", name="Emoji").click()
    expect(page.get_by_role("tab", name="Look")).to_have_count(0)


def test_images_and_texts_are_looked_at(page: Page, tmp_path: Path):
    page.locator("#cmr-results [data-item='3']").click()
    expect(page.locator("#cmr-results h2.cmr-asked")).to_contain_text("a red square number 3")
    open_view(page, "Look")
    expect_look_at(page, "the top right")
    page.fill("#cmr-look-text textarea", "a green zebra")
    page.locator("#cmr-look-text button").click()
    expect(page.locator(f"{STEP} .cmr-unknown").first).to_contain_text("zebra")
    page.locator("#cmr-look-choices [data-item='0']").click()
    expect_look_at(page, "the top left")
    expect(page.locator("#cmr-look-text textarea")).to_have_value("a red square number 0")
    spotted(3, 3).save(tmp_path / "mine.png")
    page.set_input_files("#cmr-look-image input[type=file]", tmp_path / "mine.png")
    expect_look_at(page, "the bottom right")
    expect(page.locator("#cmr-look-text textarea")).to_have_value("a red square number 0")


@pytest.mark.parametrize("page", [DESK, PHONE], indirect=True)
def test_nothing_keeps_people_from_using_it(page: Page):
    open_view(page, "Look")
    expect(page.locator(STEP)).to_have_count(3)
    page.fill("#cmr-look-text textarea", "a red zebra")
    page.locator("#cmr-look-text button").click()
    expect(page.locator(f"{STEP} .cmr-unknown").first).to_contain_text("zebra")
    assert overflow(page) <= 0
    assert serious_findings(page) == []


def test_it_can_be_read_in_the_dark(page: Page):
    dark = page.context.new_page()
    dark.goto(f"{page.url}?view=look&__theme=dark")
    expect(dark.locator(STEP)).to_have_count(3)
    assert serious_findings(dark) == []
    dark.close()
