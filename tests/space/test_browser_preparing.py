"""A gallery that is not there yet, prepared from the page in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from browsing import HIT, BrowserContext, Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, start_space: Callable) -> Iterator[Any]:
    """A Space of this module alone, where galleries may be prepared."""
    with start_space(tmp_path_factory.mktemp("space")) as space, space.entered():
        yield space


def test_missing_gallery_is_prepared_by_one_click_and_every_visitor_sees_it(
    page: Page, browser: BrowserContext, space: Any
):
    def choose(visitor: Page) -> None:
        visitor.locator("#cmr-gallery input").click()
        visitor.get_by_role("option", name="Pascal").click()
        expect(visitor.locator(".cmr-needs")).to_contain_text("not on this machine")

    choose(page)
    expect(page.locator("#cmr-text")).to_be_hidden()
    page.get_by_role("button", name="Prepare").click()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    expect(page.locator(".cmr-stage")).to_contain_text("Downloading <images>")
    other = browser.new_page()
    other.goto(space.url)
    expect(other.locator(HIT).first).to_be_visible()  # before that the page may miss a choice
    choose(other)
    other.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    space.go.touch()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(HIT)).to_have_count(3)
    expect(page.locator(".cmr-needs")).to_be_hidden()
    expect(page.locator("#cmr-about")).to_contain_text("4 pairs")
    other.close()
