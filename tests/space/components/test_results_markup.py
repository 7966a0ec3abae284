import csv
import re
from html import unescape
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from cmr_hub.encoders import encoder_class
from cmr_hub.evaluation import get_protocol, list_protocols
from cmr_hub.results import Published
from cmr_hub.space.components import results_markup
from html_tables import rows
from small_results import CLEAN, CODES, DIFFERS, PAPER, small_results, small_row


def tables(protocol: str, **changes) -> str:
    return results_markup.tables(small_results(**changes), protocol)


def headings(table: str) -> list[str]:
    return re.findall(r'<button type="button">(.*?)</button>', table)


def test_real_valued_methods_stand_beside_what_was_published():
    shown = tables(CLEAN)
    assert headings(shown) == [
        *("Method", "Learns from", "Image → text", "Text → image", "Mean", "Published", "Seeds", "Seconds")
    ]
    assert rows(shown) == [
        ["DSCMR", "classes", ".600 ± .020", ".400 ± .020", ".500 ± .020", ".250 / .200", "0, 1, 2", "12"],
        ["CCA", "pairs", ".400", ".200", ".300", ".280", "closed form", "12"],
    ]
    assert "mAP of 2 real-valued methods on the test split of Wikipedia, protocol dscmr" in shown
    assert "<b>.600</b>" in shown
    assert "<b>.400</b>" in shown  # the best of its column, and no cell of the other row's


def test_what_no_publication_gives_is_left_open():
    cited = Published("Someone", metrics={"image_to_text/map": 0.25, "text_to_image/p@5": 0.5})
    shown = tables(CLEAN, rows=[small_row("cca", 0.3, published=cited), small_row("dscmr", 0.5)])
    assert [row[5] for row in rows(shown)] == ["–", ".250, p@5 .500"]


def test_reasons_and_sources_are_said_where_a_figure_is_cited():
    assert "DSCMR: Someone &lt;2019&gt;" in tables(CLEAN)
    assert "Why these are others:" in tables(CLEAN)
    assert "DSCMR: other &lt;features&gt;" in tables(CLEAN)
    for protocol in (PAPER, CODES):
        assert "Someone" not in tables(protocol)
        assert "Why these" not in tables(protocol)
        assert "Published" not in tables(protocol)


def test_codes_have_a_column_a_length_and_a_table_a_direction():
    published = replace(DIFFERS, protocol=CODES)
    some = [
        small_row("klsh", mean, 0.01, protocols=(CODES,), bits=bits, published=published)
        for bits, mean in ((64, 0.4), (16, 0.2))
    ]
    other = small_row("sh", 0.25, protocols=(CODES,), bits=16, seeds=())
    there, back = tables(CODES, rows=[*some, other]).split("</table>")[:2]
    assert headings(there) == ["Method", "Learns from", "16 bits", "64 bits", "Seeds", "Seconds"]
    assert "mAP, image → text, of 2 hashing methods" in there
    assert "mAP, text → image, of 2 hashing methods" in back
    cited = ".300 ± .010 (.250)"
    assert rows(there) == [
        ["KLSH", "pairs", cited, ".500 ± .010 (.250)", "0, 1, 2", "12"],
        ["SH", "pairs", ".350", "–", "closed form", "12"],
    ]
    assert re.findall(r'data-key="(.*?)"', there.partition(">SH<")[2])[2] == ""  # stands last, sorted by this length


def test_encoders_have_a_column_where_they_differ():
    shown = tables(CLEAN, rows=[small_row("cca", 0.3, text="glove"), small_row("cca", 0.4, text="bow")])
    assert headings(shown)[:3] == ["Method", "Text encoder", "Learns from"]
    assert [row[:3] for row in rows(shown)] == [["CCA", "bow", "pairs"], ["CCA", "glove", "pairs"]]
    assert "mAP of 1 real-valued method on" in shown
    codes = [small_row("sh", 0.3, protocols=(CODES,), bits=16, text=text) for text in ("bow", "glove")]
    assert [row[:2] for row in rows(tables(CODES, rows=codes))[:2]] == [["SH", "bow"], ["SH", "glove"]]


def test_rows_whose_encoder_was_trained_on_the_captions_have_tables_of_their_own(monkeypatch):
    monkeypatch.setattr(encoder_class("text", "glove"), "trained_on", lambda name: {"wiki": "It read <them>."})
    shown = tables(CLEAN, rows=[small_row("cca", 0.3, text="glove"), small_row("cca", 0.4, text="bow")])
    clean, flattered = shown.split("With an encoder that was trained on these captions.</b>")
    assert "It read &lt;them&gt;. These figures do not compare" in flattered
    assert [row[1] for row in rows(clean)] == ["pairs"]
    assert ".200" in flattered
    assert ".200" not in clean


def test_recalls_have_a_column_each():
    names = [f"{way}/recall@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5)]
    row = small_row("dan", 0.4, 0.01, protocols=("instance",))
    spreads = {**dict.fromkeys(names, row.metrics["instance"]["mean_recall"]), **row.metrics["instance"]}
    shown = tables("instance", rows=[replace(row, metrics={"instance": spreads})])
    assert headings(shown)[2:7] == [
        *("R@1, image → text", "R@5, image → text", "R@1, text → image", "R@5, text → image", "Mean")
    ]
    assert "mR of 1 real-valued method on" in shown


def test_a_mean_over_some_of_the_runs_says_so():
    row = small_row("dscmr", 0.5, 0.02, measured={CLEAN: 2})
    assert rows(tables(CLEAN, rows=[row]))[0][2] == ".600 ± .020 of 2 of 3 runs"


@pytest.mark.parametrize("protocol", list_protocols())
def test_choosing_on_the_test_split_is_said_aloud(protocol):
    rows = [small_row("dscmr", 0.5, protocols=(protocol,))]
    shown = results_markup.counted(small_results(rows=rows), protocol)
    assert ("The epoch was chosen on the test split." in shown) is ("epoch chosen on the test" in unescape(shown))
    assert get_protocol(protocol).describe().partition(": ")[2] in unescape(shown)


def test_what_a_measurement_took_and_how_it_is_made_again():
    shown = results_markup.about(small_results(), CLEAN)
    for said in (
        "Pairs: 2,173 train, 693 test; the whole data set.",
        "<code>cmr reproduce --dataset wiki</code>",
        "It took 3 h 05 min on 2 cores, x86_64, with torch 2.15.0.",
        "<li>DAN: it eats &lt;regions&gt;</li>",
    ):
        assert said in shown
    part = results_markup.about(small_results(complete=False, command="<b>", machine="<i>", not_measured=[]), CLEAN)
    assert "<mark>a part of the data set" in part
    assert "&lt;b&gt;" in part
    assert "on &lt;i&gt;" in part
    assert "Not measured" not in part


def test_the_figures_can_be_taken_along():
    shown = results_markup.about(small_results(rows=[small_row("cca", 0.5, title='"><script>')]), CLEAN)
    name, address = re.search(r'download="(.*?)" href="data:text/csv;charset=utf-8,(.*?)"', shown).groups()
    assert name == "wiki-dscmr.csv"
    (line,) = csv.DictReader(unquote(address).splitlines())
    assert (line["title"], line["map mean"]) == ('"><script>', "0.5")
    assert "<script>" not in shown
