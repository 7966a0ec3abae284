import csv

from cmr_hub.encoders import encoder_class
from cmr_hub.results.spreadsheet import to_csv
from small_results import CLEAN, CODES, small_results, small_row


def lines(protocol):
    return list(csv.DictReader(to_csv(small_results().table, protocol).splitlines()))


def test_a_line_a_row_best_first_with_every_figure():
    first, second = lines(CLEAN)
    assert [first[name] for name in ("dataset", "protocol", "method", "bits", "seeds")] == [
        *("wiki", "dscmr", "dscmr", "", "0 1 2")
    ]
    assert (float(first["map mean"]), float(first["map deviation"])) == (0.5, 0.02)
    assert float(first["image_to_text/map mean"]) == 0.6
    assert (second["title"], second["seeds"], second["map deviation"]) == ("CCA", "", "")


def test_encoders_are_named(monkeypatch):
    monkeypatch.setattr(encoder_class("text", "glove"), "trained_on", lambda name: {"wiki": "It read them."})
    table = small_results(rows=[small_row("cca", 0.3, text="glove"), small_row("cca", 0.2, text="bow")]).table
    found = csv.DictReader(to_csv(table, CLEAN).splitlines())
    assert [(line["image"], line["text"], line["saw captions"]) for line in found] == [
        *(("precomputed", "glove", "It read them."), ("precomputed", "bow", ""))
    ]


def test_codes_have_a_line_a_length():
    assert [(line["title"], line["bits"]) for line in lines(CODES)] == [
        *(("KLSH", "64"), ("KLSH", "16"), ("SH", "16"), ("SH", "64"))
    ]
