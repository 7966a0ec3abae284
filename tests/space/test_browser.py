"""The page in a real browser: what people do with it, at the widths of a desk and of a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from browsing import DESK, HIT, PHONE, BrowserContext, Page, expect, overflow, serious_findings

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def find(page: Page, text: str) -> None:
    page.fill("#cmr-text textarea", text)
    page.get_by_role("button", name="Find").click()


def test_opens_on_an_example_that_explains_it(page: Page):
    expect(page.locator("h1")).to_contain_text("Search images with words")
    expect(page.locator(HIT)).to_have_count(12)
    expect(page.locator("#cmr-text textarea")).not_to_have_value("")
    assert page.locator("#cmr-examples .cmr-chip").count() >= 3
    assert all(image.get_attribute("alt") for image in page.locator(f"{HIT} img").all())


def test_words_find_images(page: Page):
    find(page, "smiling cat")
    expect(page.locator("h2.cmr-asked")).to_have_text("“smiling cat”")
    expect(page.locator(".cmr-images .cmr-hit img")).to_have_count(12)
    first = page.locator(".cmr-words").all_inner_texts()[:5]
    assert any("cat" in caption for caption in first)
    expect(page.locator(".cmr-summary")).to_contain_text(re.compile(r"\d ms"))
    assert page.locator(f"{HIT} img").first.evaluate("image => image.naturalWidth") == 72


def test_image_finds_texts(page: Page, image_file: Path):
    page.set_input_files("#cmr-image input[type=file]", image_file)
    expect(page.locator(".cmr-texts .cmr-hit")).to_have_count(12)
    labels = page.locator(".cmr-label").all_inner_texts()[:5]
    assert labels.count("Animals & Nature") >= 3
    page.get_by_label("Images", exact=True).check()
    expect(page.locator(".cmr-images .cmr-hit").first).to_contain_text("dog face")


def test_words_next_to_an_image_are_one_query(page: Page, image_file: Path):
    page.set_input_files("#cmr-image input[type=file]", image_file)
    expect(page.locator(".cmr-texts .cmr-hit")).to_have_count(12)
    find(page, "smiling")
    expect(page.locator("h2.cmr-asked")).to_have_text("Your image + “smiling”")
    expect(page.locator(".cmr-images .cmr-hit")).to_have_count(12)
    page.get_by_label("But not").fill("blue")
    page.get_by_label("But not").press("Enter")
    expect(page.locator("h2.cmr-asked")).to_have_text("Your image + “smiling” - “blue”")
    page.get_by_label("Hide chance finds").check()
    expect(page.locator(".cmr-summary")).to_contain_text("above chance")
    assert overflow(page) <= 0


def test_clicked_hit_becomes_the_query(page: Page):
    find(page, "fire engine")
    expect(page.locator("h2.cmr-asked")).to_have_text("“fire engine”")
    caption = page.locator(HIT).nth(2).locator(".cmr-words").inner_text()
    page.locator(HIT).nth(2).click()
    expect(page.locator("h2.cmr-asked")).to_contain_text(caption)
    expect(page.locator(".cmr-summary")).to_contain_text("share its class")
    expect(page.locator("#cmr-text textarea")).to_have_value("")
    page.get_by_label("its image").check()
    expect(page.locator(".cmr-summary")).to_contain_text("to its image")


def test_examples_are_one_click(page: Page):
    chip = page.locator("#cmr-examples .cmr-chip").nth(1)
    chip.click()
    expect(page.locator("#cmr-text textarea")).to_have_value(chip.inner_text())
    expect(page.locator("h2.cmr-asked")).to_have_text(f"“{chip.inner_text()}”")
    page.locator("#cmr-examples .cmr-thumb").nth(1).click()
    expect(page.locator(".cmr-summary")).to_contain_text("share its class")


def test_answer_has_an_address_that_leads_back_to_it(page: Page, browser: BrowserContext):
    assert "?" not in page.url
    find(page, "fire engine")
    expect(page.locator("h2.cmr-asked")).to_have_text("“fire engine”")
    page.get_by_label("Texts", exact=True).check()
    expect(page.locator(".cmr-texts .cmr-hit")).to_have_count(12)
    expect(page).to_have_url(re.compile("text=fire\\+engine&target=text"))
    focus = page.get_by_label("number input for Focus")
    focus.fill("0.2")
    expect(page.locator(".cmr-summary")).to_contain_text("at focus 0.2")
    expect(page).to_have_url(re.compile("&focus=0.2"))
    other = browser.new_page()
    other.goto(page.url)
    expect(other.locator("h2.cmr-asked")).to_have_text("“fire engine”")
    expect(other.locator(".cmr-texts .cmr-hit")).to_have_count(12)
    expect(other.get_by_label("Texts", exact=True)).to_be_checked()
    expect(other.get_by_label("number input for Focus")).to_have_value("0.2")
    assert other.locator(".cmr-words").all_inner_texts() == page.locator(".cmr-words").all_inner_texts()
    other.close()


def test_link_is_copied(page: Page, browser: BrowserContext):
    browser.grant_permissions(["clipboard-read", "clipboard-write"])
    find(page, "fire engine")
    expect(page.locator("h2.cmr-asked")).to_have_text("“fire engine”")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url


@pytest.mark.parametrize("view", ["Compare", "Map", "Scores", "Your gallery", "Use it"])
def test_link_opens_a_view(browser: BrowserContext, space: Any, view: str):
    names = {"Your gallery": "own", "Use it": "use"}
    other = browser.new_page()
    other.goto(f"{space.url}?view={names.get(view, view.lower())}")
    expect(other.get_by_role("tab", name=view, exact=True)).to_have_attribute("aria-selected", "true")
    shown = {"Compare": ".cmr-pick", "Map": "#cmr-map .point", "Scores": "table tbody tr"}
    expect(other.locator(shown.get(view, "[role=tabpanel]:visible button")).first).to_be_visible()
    expect(other.get_by_role("tab", name="Look", exact=True)).to_be_hidden()
    other.close()


def test_class_confines_the_hits(page: Page):
    find(page, "smiling cat")
    expect(page.locator("h2.cmr-asked")).to_have_text("“smiling cat”")
    page.get_by_label("Of class").click()
    page.get_by_role("option", name="Food & Drink").click()
    expect(page.locator(".cmr-summary")).to_contain_text("of class Food & Drink")
    assert set(page.locator(".cmr-label").all_inner_texts()) == {"Food & Drink"}


def test_average_precision_of_an_item_is_told(page: Page):
    page.locator("#cmr-examples .cmr-thumb").first.click()
    expect(page.locator(".cmr-summary")).to_contain_text(re.compile(r"AP 0\.\d{3}"))


@pytest.mark.parametrize("page", [DESK, PHONE], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("body.dark")).to_have_count(int(scheme == "dark"))
    assert serious_findings(page) == []


def test_keyboard_alone_is_enough(page: Page):
    page.locator("#cmr-text textarea").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("red apple")
    page.keyboard.press("Enter")
    expect(page.locator("h2.cmr-asked")).to_have_text("“red apple”")
    caption = page.locator(HIT).first.locator(".cmr-words").inner_text()
    page.locator(HIT).first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h2.cmr-asked")).to_contain_text(caption)


def test_other_model_answers_the_same_query(page: Page):
    find(page, "smiling cat")
    expect(page.locator("h2.cmr-asked")).to_have_text("“smiling cat”")
    before = page.locator("#cmr-about b").inner_text()
    page.locator("#cmr-model input").click()
    page.get_by_role("option").last.click()
    expect(page.locator("#cmr-about b")).not_to_have_text(before)
    expect(page.locator("h2.cmr-asked")).to_have_text("“smiling cat”")


def test_slider_decides_how_many(page: Page):
    page.locator("#cmr-k input[type=number]").fill("3")
    page.locator("#cmr-k input[type=number]").press("Enter")
    expect(page.locator(HIT)).to_have_count(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "type at least one word"),
        ("x" * 2001, "2,001 characters"),
        ("\U0001f600", "knows no word of '\U0001f600'"),
    ],
)
def test_refused_words_show_a_notice(page: Page, text: str, message: str):
    find(page, text)
    expect(page.get_by_role("alert")).to_contain_text(message)
    find(page, "dog")
    expect(page.locator(HIT)).to_have_count(12)


def test_unknown_words_are_shown_as_they_were_typed(page: Page):
    page.goto(f"{page.url.partition('?')[0]}?model=dscmr")
    expect(page.locator(HIT)).to_have_count(12)
    find(page, "qwxyzzq <&>")
    expect(page.get_by_role("alert")).to_contain_text("knows no word of 'qwxyzzq <&>'")


def test_file_that_is_no_image_shows_a_notice(page: Page, no_image: Path):
    page.set_input_files("#cmr-image input[type=file]", no_image)
    expect(page.locator(".cmr-notice")).to_contain_text("broken.png is not an image")
    expect(page.get_by_text("Drop an image")).to_be_visible()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_fits_a_phone(page: Page, image_file: Path):
    assert overflow(page) <= 0
    find(page, "smiling cat")
    expect(page.locator("h2.cmr-asked")).to_be_in_viewport()
    page.set_input_files("#cmr-image input[type=file]", image_file)
    expect(page.locator(".cmr-texts .cmr-hit").first).to_be_visible()
    assert overflow(page) <= 0
