"""The map in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from browsing import PHONE, Page, expect, open_view, overflow, serious_findings

pytestmark = [pytest.mark.slow, pytest.mark.browser]

POINT = "#cmr-map-plot .trace:not(.tracecmr-rings, .tracecmr-star) .point"
STAR, RINGS = "#cmr-map-plot .tracecmr-star .point", "#cmr-map-plot .tracecmr-rings .point"
CARD, QUESTION = "#cmr-map-card .cmr-map-card", "#cmr-map-question"


def open_map(page: Page) -> None:
    open_view(page, "Map")
    expect(page.locator(POINT)).to_have_count(3796)
    expect(page.locator(STAR)).to_have_count(1)


def choose_codes(page: Page) -> None:
    """A hashing method; the map is its own when the code of what was asked has come."""
    page.locator("#cmr-model input").click()
    page.get_by_role("option", name="DCMH", exact=True).click()
    expect(page.locator(f"{CARD} .cmr-code")).to_have_count(1)


def middle_of(page: Page, number: int) -> tuple[float, float]:
    """Where a point is; one that lies apart from others is chosen by its number."""
    box = page.locator(POINT).nth(number).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def place_of(page: Page, mark: str) -> str:
    return page.locator(mark).first.get_attribute("transform")


def test_the_question_of_the_search_is_marked_among_all_points(page: Page):
    asked = page.locator("#cmr-results h2.cmr-asked").inner_text()
    open_map(page)
    expect(page.locator(f"{QUESTION} h2")).to_have_text(asked)
    expect(page.locator(RINGS)).to_have_count(12)
    expect(page.locator("#cmr-map-plot")).to_contain_text(re.compile(r"First component: \d+\.\d% of the variance"))
    assert page.locator("#cmr-map-legend [aria-pressed=true]").count() == 9


def test_pointing_shows_a_card_and_moves_nothing_and_a_click_asks(page: Page):
    open_map(page)
    expect(page.locator(CARD)).to_contain_text("Point at the map")
    before = page.locator(CARD).bounding_box(), page.locator(QUESTION).bounding_box()
    page.mouse.move(*middle_of(page, 700))
    expect(page.locator(f"{CARD} img")).to_have_attribute("alt", re.compile(r"\w"))
    expect(page.locator(f"{CARD} .cmr-which")).to_contain_text("·")
    assert (page.locator(CARD).bounding_box(), page.locator(QUESTION).bounding_box()) == before
    name, star = page.locator(f"{CARD} img").get_attribute("alt"), place_of(page, STAR)
    page.mouse.click(*middle_of(page, 700))
    expect(page.locator(f"{QUESTION} h2")).to_contain_text(name)
    expect(page.locator(STAR)).not_to_have_attribute("transform", star)
    open_view(page, "Search")
    expect(page.locator("#cmr-results h2.cmr-asked")).to_contain_text(name)


def test_words_and_images_find_their_places(page: Page, image_file: Path):
    open_map(page)
    star = place_of(page, STAR)
    page.fill("#cmr-map-text textarea", "fire engine")
    page.locator("#cmr-map-text textarea").press("Enter")
    expect(page.locator(f"{QUESTION} h2")).to_have_text("“fire engine”")
    expect(page.locator(STAR)).not_to_have_attribute("transform", star)
    star = place_of(page, STAR)
    page.set_input_files("#cmr-map-ask input[type=file]", image_file)
    expect(page.locator(f"{QUESTION} h2")).to_have_text("Your image")
    expect(page.locator(STAR)).not_to_have_attribute("transform", star)
    page.fill("#cmr-map-text textarea", "\U0001f600")
    page.locator("#cmr-map-text textarea").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("knows no word")
    expect(page.locator(STAR)).to_have_count(0)


def test_a_zoomed_map_stays_as_it_is_when_something_is_asked(page: Page):
    open_map(page)
    before = place_of(page, POINT)
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator(POINT).first).not_to_have_attribute("transform", before)
    page.wait_for_timeout(700)  # plotly moves the points softly
    zoomed = place_of(page, POINT)
    page.locator(f"{QUESTION} .cmr-hit").nth(3).click()
    expect(page.locator(f"{QUESTION} .cmr-summary")).to_contain_text("12 nearest")
    expect(page.locator(f"{QUESTION} img.cmr-asked")).to_be_visible()
    assert place_of(page, POINT) == zoomed


def test_classes_and_sides_are_shown_and_hidden(page: Page):
    open_map(page)
    page.locator("#cmr-map-legend").get_by_role("button", name="None").click()
    expect(page.locator(POINT)).to_have_count(0)
    page.locator("#cmr-map-legend").get_by_role("button", name="Flags").press("Enter")
    expect(page.locator(POINT)).to_have_count(2 * 269)
    expect(page.locator(STAR)).to_have_count(1)
    page.locator("#cmr-map-legend").get_by_role("button", name="All").click()
    expect(page.locator(POINT)).to_have_count(3796)
    page.locator("#cmr-map-sides").get_by_text("Images").click()
    expect(page.locator(POINT)).to_have_count(1898)
    expect(page.locator(RINGS)).to_have_count(12)


def test_codes_are_shown_as_patterns(page: Page):
    open_map(page)
    choose_codes(page)
    page.locator(f"{QUESTION} .cmr-hit").first.click()
    expect(page.locator(f"{CARD} .cmr-code")).to_have_count(3)
    expect(page.locator(f"{CARD}")).to_contain_text(
        re.compile(r"Image and text (differ in \d+ of|have the same) 64 bits")
    )
    pattern = page.locator(f"{CARD} .cmr-code svg").first
    assert re.match(r"Image: 64 bits, in hexadecimal [0-9a-f ]{23}; \d+ of them", pattern.get_attribute("aria-label"))


def test_tsne_is_prepared_in_the_background_and_can_be_stopped(page: Page):
    open_map(page)
    page.locator("#cmr-map-layout").get_by_text("t-SNE").click()
    panel = page.locator("#cmr-map-prepare")
    expect(panel).to_contain_text("has not been laid out here yet")
    expect(page.locator(POINT)).to_have_count(3796)
    panel.get_by_role("button", name="Prepare t-SNE").click()
    expect(panel.get_by_role("progressbar", name="t-SNE")).to_be_visible()
    page.fill("#cmr-map-text textarea", "fire engine")
    page.locator("#cmr-map-text textarea").press("Enter")
    expect(page.locator(f"{QUESTION} h2")).to_have_text("“fire engine”")
    panel.get_by_role("button", name="Stop").click()
    expect(panel).to_contain_text("has not been laid out here yet")
    expect(panel.get_by_role("button", name="Prepare t-SNE")).to_be_visible()


def test_everybody_can_use_it(page: Page):
    open_map(page)
    choose_codes(page)
    page.locator(f"{QUESTION} .cmr-hit").first.click()
    expect(page.locator(f"{CARD} .cmr-code")).to_have_count(3)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
        assert serious_findings(page) == []


def test_a_link_opens_the_map_and_leaving_at_once_does_no_harm(page: Page):
    page.goto(f"{page.url}?view=map")
    expect(page.locator(POINT)).to_have_count(3796)
    expect(page.locator(RINGS)).to_have_count(12)
    page.locator("#cmr-map-sides").get_by_text("Texts").click()
    open_view(page, "Search")
    expect(page.locator("#cmr-results .cmr-hit")).to_have_count(12)
    page.wait_for_timeout(1000)
    open_view(page, "Map")
    expect(page.locator(POINT)).to_have_count(1898)
    box = page.locator("#cmr-map-plot .plot-container").bounding_box()
    assert box["width"] > 500
    assert box["height"] > 400


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_fits_a_phone(page: Page):
    open_map(page)
    assert overflow(page) <= 0
    choose_codes(page)
    page.locator(f"{QUESTION} .cmr-hit").first.click()
    expect(page.locator(f"{CARD} .cmr-code")).to_have_count(3)
    assert overflow(page) <= 0
    assert serious_findings(page) == []
