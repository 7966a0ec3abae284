"""What tests of the page in a real browser share."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

__all__ = ["DESK", "HIT", "PHONE", "BrowserContext", "Page", "expect", "open_view", "overflow", "serious_findings"]

HIT = "#cmr-results .cmr-hit"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}

expect.set_options(timeout=60_000)


def open_view(page: Page, title: str) -> None:
    """Open a tab by its title."""
    page.get_by_role("tab", name=title, exact=True).click()


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds on the page as it stands that keeps people from using it."""
    # Colours on their way from one theme to another are no finding.
    page.wait_for_function("document.getAnimations().every(each => each.playState !== 'running')")
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
