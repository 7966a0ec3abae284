"""Several models side by side, in a real browser."""

from __future__ import annotations

import re

import pytest

from browsing import PHONE, Page, expect, open_view, overflow, serious_findings

pytestmark = [pytest.mark.slow, pytest.mark.browser]

COLUMN, PICK = "#cmr-columns .cmr-column", "#cmr-columns .cmr-pick"


def choose(page: Page, model: str) -> None:
    page.locator("#cmr-others input").click()
    page.get_by_role("option", name=model, exact=True).click()
    page.keyboard.press("Escape")


def test_the_question_of_the_search_is_put_to_models_of_several_kinds(page: Page):
    asked = page.locator("#cmr-results h2.cmr-asked").inner_text()
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(3)
    expect(page.locator("#cmr-columns h2.cmr-asked")).to_have_text(asked)
    expect(page.locator(PICK)).to_have_count(18)
    assert any("codes of 64 bits" in kind for kind in page.locator(f"{COLUMN} .cmr-kind").all_inner_texts())
    page.locator(PICK).nth(7).click()
    expect(page.locator(f"{COLUMN} .cmr-figures").first).to_contain_text(re.compile(r"AP 0\.\d{3} · \d of 6 right"))
    marks = page.locator(f"{PICK} svg[role=img]")
    assert {mark.get_attribute("aria-label") for mark in marks.all()} <= {"same class", "another class"}
    assert marks.count() == 18


def test_words_asked_here_are_answered_by_the_search_too(page: Page):
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(3)  # before that the question of the page may still arrive in the box
    page.fill("#cmr-compare-text textarea", "fire engine")
    page.locator("#cmr-compare-text button").click()
    expect(page.locator("#cmr-columns h2.cmr-asked")).to_have_text("“fire engine”")
    open_view(page, "Search")
    expect(page.locator("#cmr-results h2.cmr-asked")).to_have_text("“fire engine”")
    expect(page.locator("#cmr-results .cmr-hit")).to_have_count(12)


def test_models_are_chosen_stay_and_are_taken_along(page: Page):
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(3)
    choose(page, "CCA")
    expect(page.locator(COLUMN)).to_have_count(4)
    open_view(page, "Search")
    expect(page.locator("#cmr-results .cmr-hit").first).to_be_visible()
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(4)
    page.get_by_role("button", name="Search with CCA").click()
    expect(page.get_by_role("tab", name="Search")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#cmr-model input")).to_have_value("CCA")
    expect(page.locator("#cmr-about")).to_contain_text("cmr/cca-emoji")


def test_each_surprise_is_another_one(page: Page):
    open_view(page, "Compare")
    seen = []
    for _ in range(3):
        before = page.locator("#cmr-columns h2.cmr-asked").inner_text()
        page.get_by_role("button", name="Surprise me").click()
        expect(page.locator("#cmr-columns h2.cmr-asked")).not_to_have_text(before)
        seen.append(page.locator("#cmr-columns h2.cmr-asked").inner_text())
        summary = page.locator("#cmr-columns .cmr-summary").inner_text()
        lowest, highest = map(float, re.findall(r"0\.\d{3}", summary))
        assert highest - lowest > 0.3
    assert len(set(seen)) == 3


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_columns_are_swiped_on_a_phone(page: Page):
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(3)  # before that the question of the page may still arrive
    page.get_by_role("button", name="Surprise me").click()
    expect(page.locator("#cmr-columns .cmr-summary")).to_contain_text("AP from")
    assert overflow(page) <= 0
    last = page.locator(COLUMN).last
    last.scroll_into_view_if_needed()
    expect(last).to_be_in_viewport()
    assert overflow(page) <= 0
    assert serious_findings(page) == []


def test_nothing_keeps_people_from_using_it(page: Page):
    open_view(page, "Compare")
    expect(page.locator(COLUMN)).to_have_count(3)  # before that the question of the page may still arrive
    page.get_by_role("button", name="Surprise me").click()
    expect(page.locator("#cmr-columns .cmr-summary")).to_contain_text("AP from")
    assert serious_findings(page) == []
    page.goto(f"{page.url}?view=compare&__theme=dark")
    expect(page.locator(PICK)).to_have_count(18)
    assert serious_findings(page) == []
