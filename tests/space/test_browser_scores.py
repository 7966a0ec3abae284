"""The scores in a real browser: what people do with them, at the widths of a desk and of a phone."""

from __future__ import annotations

import re

import pytest

from browsing import DESK, PHONE, Page, expect, open_view, overflow, serious_findings
from cmr_hub.results.focus_curves import focus_of
from cmr_hub.space.services.scoreboard import known_scores
from cmr_hub.space.views import results as results_module
from cmr_hub.space.views import scores as scores_module
from scored import score
from small_results import CLEAN, CODES, PAPER, small_results

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROWS = ".cmr-board tbody tr"
CHARTS = "#cmr-curves .js-plotly-plot"


@pytest.fixture
def scores(page: Page, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page with the scores open and the first curves drawn; one checkpoint has scores over the focus."""
    at_focus = [
        score("parts", f"{protocol}(focus={focus})", mean=0.6 - focus / 10, dataset="emoji")
        for protocol in ("dscmr", "instance")
        for focus in (0, 0.5, 1)
    ]
    known = [each for each in known_scores() if focus_of(each.protocol) is None] + at_focus
    monkeypatch.setattr(scores_module, "known_scores", lambda: known)
    open_view(page, "Scores")
    expect(page.locator(ROWS).first).to_be_visible()
    expect(page.locator(f"{CHARTS} .legendtext")).to_have_count(4)
    return page


def column(page: Page, title: str) -> list[str]:
    """The cells below a heading, from the top."""
    headings = page.locator(".cmr-board thead th").all_inner_texts()
    number = next(number for number, heading in enumerate(headings, 1) if heading.startswith(title))
    return page.locator(f"{ROWS} > :nth-child({number})").all_inner_texts()


def test_opens_on_the_gallerys_data_set_best_first(scores: Page):
    expect(scores.get_by_label("Emoji", exact=True)).to_be_checked()
    assert set(column(scores, "Data set")) == {"Emoji"}
    means = [float(cell) for cell in column(scores, "Mean")]
    assert means == sorted(means, reverse=True)
    assert len(means) > 10


def test_a_heading_sorts_and_sorts_back(scores: Page):
    methods = column(scores, "Method")
    heading = scores.locator(".cmr-board th", has_text="Method").first
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert column(scores, "Method") == sorted(methods, key=str.lower)
    heading.get_by_role("button").press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert column(scores, "Method") == sorted(methods, key=str.lower, reverse=True)
    scores.get_by_role("button", name="Bits").click()
    bits = column(scores, "Bits")
    assert bits.index("–") == len([cell for cell in bits if cell != "–"])  # what has no length stands last
    expect(scores.locator(".cmr-board [aria-sort]")).to_have_count(1)


def test_another_protocol_moves_the_figures_and_says_how_far(scores: Page):
    before = dict(zip(column(scores, "Checkpoint"), column(scores, "Mean"), strict=True))
    scores.get_by_role("button", name="Learns from").click()
    scores.get_by_label("dcmh", exact=True).check()
    expect(scores.locator(".cmr-counts mark")).to_have_text("gallery = the training split")
    expect(scores.locator(".cmr-moves")).to_contain_text(re.compile(r"to \+\.\d{3} against dscmr"))
    after = dict(zip(column(scores, "Checkpoint"), column(scores, "Mean"), strict=True))
    assert before.keys() >= after.keys()
    changes = dict(zip(column(scores, "Checkpoint"), column(scores, "Against dscmr"), strict=True))
    for checkpoint, change in changes.items():
        signed = float(change.replace("−", "-").replace("±", ""))
        assert signed == pytest.approx(float(after[checkpoint]) - float(before[checkpoint]), abs=0.0011)
    expect(scores.locator(".cmr-board [aria-sort]")).to_contain_text("Mean")
    expect(scores.locator("#cmr-curve-figures")).to_contain_text("Protocol dcmh")


def test_curves_of_the_chosen_checkpoints(scores: Page):
    scores.locator("#cmr-curved input").click()
    scores.get_by_role("option", name="CCA", exact=True).click()
    expect(scores.locator(f"{CHARTS} .legendtext", has_text="CCA")).to_have_count(2)
    assert scores.locator(f"{CHARTS} .scatterlayer .trace").count() == 6
    scores.locator("#cmr-curve-figures").get_by_text("The same as numbers").click()
    numbers = scores.locator("#cmr-curve-figures tbody tr", has_text="CCA")
    expect(numbers).to_have_count(2)
    assert all(0 <= float(cell) <= 1 for cell in numbers.first.locator(".cmr-number").all_inner_texts())


def test_data_that_are_not_here_have_scores_and_no_curves(scores: Page):
    scores.get_by_label("Wikipedia", exact=True).check()
    expect(scores.locator(".cmr-board caption")).to_contain_text("of Wikipedia")
    expect(scores.locator(CHARTS).first).to_be_hidden()
    expect(scores.get_by_text("is not on this machine. Prepare its gallery")).to_be_visible()
    expect(scores.locator(".cmr-sources li").first).to_contain_text("Rasiwasia")
    expect(scores.locator("#cmr-ablations table", has_text="correlation")).to_contain_text("±")


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_fits_a_phone(scores: Page):
    assert overflow(scores) <= 0
    scores.get_by_label("instance", exact=True).check()
    expect(scores.locator(".cmr-moves")).to_contain_text("another measure")
    assert overflow(scores) <= 0
    assert serious_findings(scores) == []


def test_everyone_can_use_it_in_both_themes(scores: Page):
    scores.get_by_label("dcmh", exact=True).check()
    expect(scores.locator("#cmr-curve-figures")).to_contain_text("Protocol dcmh")
    scores.locator("#cmr-curve-figures").get_by_text("The same as numbers").click()
    scores.locator("#cmr-focus-figures").get_by_text("The same as numbers").click()
    expect(scores.locator("#cmr-focus-figures tbody tr")).to_have_count(2)
    expect(scores.locator("#cmr-focused .legendtext")).to_have_count(2)
    colours = set()
    for scheme in ("light", "dark"):
        scores.emulate_media(color_scheme=scheme)
        expect(scores.locator("body.dark")).to_have_count(int(scheme == "dark"))
        label = scores.locator(f"{CHARTS} .legendtext").first
        colours.add(label.evaluate("element => getComputedStyle(element).fill"))
        assert serious_findings(scores) == []
    assert len(colours) == 2


def test_results_over_seeds_by_link_at_both_widths_and_in_both_schemes(page: Page, space, monkeypatch):
    monkeypatch.setattr(results_module, "list_results", lambda: [small_results("emoji"), small_results("wiki")])
    page.goto(f"{space.url}?view=results&gallery=wiki")
    expect(page.get_by_role("tab", name="Results", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Wikipedia", exact=True)).to_be_checked()
    for protocol, size, scheme, chart in ((CODES, DESK, "light", "codes"), (PAPER, PHONE, "dark", "floats")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.get_by_label(protocol, exact=True).check()
        expect(page.locator("#cmr-measured-tables caption").first).to_contain_text(f"protocol {protocol}")
        expect(page.locator(f"#cmr-{chart} .errorbar path").first).to_be_attached()
        expect(page.locator(".cmr-flatters")).to_have_count(int(protocol == PAPER))
        assert overflow(page) <= 0
        assert serious_findings(page) == []
    page.get_by_label("Emoji", exact=True).check()
    page.get_by_label(CLEAN, exact=True).check()
    expect(page.locator("#cmr-measured-tables caption")).to_contain_text(re.compile(r"of Emoji, protocol dscmr(?!-)"))
    with page.expect_download() as taken:
        page.get_by_text("All metrics under this protocol, as CSV").click()
    assert taken.value.suggested_filename == "emoji-dscmr.csv"
