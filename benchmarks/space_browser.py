"""How long a visitor waits: `python benchmarks/space_browser.py [--runs 5] [--screenshots FOLDER] [--json FILE]`.

A fresh `python space_app.py` and a headless Chromium (playwright, from requirements-dev.txt). First paint and first
hits are counted from the navigation, by a browser that has nothing of the page in its cache; then each gallery that
this machine has and each model of the default gallery are opened, once to load them and again to measure.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import report
from benchmarks.space_start import running_space
from cmr_hub.space.views import VIEWS

HIT = "#cmr-results .cmr-hit"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
WIDTHS = {1440: 900, 390: 844}
TARGETS = {"first paint": 3.0, "first hits": 15.0, "gallery": 1.0, "model": 1.0}
PATIENCE = 60_000  # milliseconds
SETTLING = 3_000  # milliseconds until charts, which draw themselves after their data have come, stand still


def first_visit(browser: Browser, address: str) -> dict[str, float]:
    """Seconds until something, and until the first hits, are seen by a browser that was never here."""
    context = browser.new_context()
    page = context.new_page()
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(HIT, timeout=PATIENCE)
    seconds = {"first hits": time.perf_counter() - started, "first paint": page.evaluate(PAINT)}
    context.close()
    return seconds


def options_of(page: Page, picker: str) -> list[str]:
    """What can be picked."""
    page.locator(f"{picker} input").click()
    names = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return [name.removeprefix("✓").strip() for name in names]


def seconds_to_pick(page: Page, picker: str, name: str) -> float:
    """From the click on an option to new results."""
    page.evaluate(f"document.querySelector('{HIT}').dataset.old = ''")
    page.locator(f"{picker} input").click()
    option = page.get_by_role("option", name=name, exact=True)
    option.wait_for()
    started = time.perf_counter()
    option.dispatch_event("mousedown")  # which chooses it, while the list is still sliding open
    page.wait_for_selector(f"{HIT}:not([data-old])", timeout=PATIENCE)
    page.wait_for_function(f"!document.querySelector('{HIT}[data-old]')", timeout=PATIENCE)
    return time.perf_counter() - started


def measure(what: str, names: list[str], again: Callable[[str], float], runs: int) -> dict[str, Any]:
    """The median and the slowest of opening each of some things, after each has been opened once."""
    for name in names:
        again(name)
    seconds = [again(name) for _ in range(runs) for name in names]
    return row(f"switch {what} ({', '.join(names)})", seconds, TARGETS[what])


def row(what: str, seconds: list[float], target: float) -> dict[str, Any]:
    return {"what": what, "median s": statistics.median(seconds), "slowest s": max(seconds), "target s": target}


def take_screenshots(browser: Browser, address: str, folder: Path) -> None:
    """Every view that the default gallery has, at the widths of a desk and of a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in WIDTHS.items():
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        page.wait_for_selector(HIT, timeout=PATIENCE)
        titles = [tab.inner_text().strip() for tab in page.get_by_role("tab").all() if tab.is_visible()]
        for view in (view for view in VIEWS if view.title in titles):
            page.goto(f"{address}?view={view.name}")
            page.wait_for_selector(f"[role=tab][aria-selected=true]:has-text('{view.title}')", timeout=PATIENCE)
            page.wait_for_timeout(SETTLING)
            page.screenshot(path=folder / f"{view.name}-{width}.jpg", type="jpeg", quality=70)
        page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="also take images of every view")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with running_space() as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        visits = [first_visit(browser, address) for _ in range(options.runs)]
        rows = [row(what, [visit[what] for visit in visits], TARGETS[what]) for what in ("first paint", "first hits")]
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.wait_for_selector(HIT, timeout=PATIENCE)
        for what, picker in (("model", "#cmr-model"), ("gallery", "#cmr-gallery")):
            names = [name for name in options_of(page, picker) if "to prepare" not in name]
            if len(names) > 1:
                turns = [*names[1:], names[0]]  # the first is shown already, and the last is where it started
                rows.append(
                    measure(what, turns, lambda name, on=picker: seconds_to_pick(page, on, name), options.runs)
                )
        if options.screenshots:
            take_screenshots(browser, address, options.screenshots)
        browser.close()
    report(rows, options.json)


if __name__ == "__main__":
    main()
