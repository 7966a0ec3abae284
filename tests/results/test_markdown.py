from cmr_hub.encoders import encoder_class
from cmr_hub.results import NotMeasured
from cmr_hub.results.markdown import results_markdown, table_markdown
from small_results import CODES, small_results, small_row
from tables import unpadded


def test_what_is_missing_and_the_protocols_are_two_lists():
    text = results_markdown(small_results())
    assert text.startswith("## wiki, test split\n\nPairs: 2,173 train, 693 test (the whole data set). Made by `cmr")
    assert "Not measured:\n\n- DAN: it eats <regions>\n\nProtocols:\n\n- dscmr: mAP@all" in text
    assert ".\n\nProtocols:\n\n- dscmr: " in results_markdown(small_results(not_measured=[]))


def test_encoders_have_columns_where_they_differ():
    rows = [
        small_row("cca", 0.3, text="glove"),
        small_row("cca", 0.4, text="bow"),
        small_row("dscmr", 0.5, text="bow"),
    ]
    codes = [small_row("sh", 0.2, protocols=(CODES,), bits=16, text=text) for text in ("bow", "glove")]
    text = unpadded(table_markdown(small_results(rows=[*rows, *codes]).table))
    assert "| method | text | supervision |" in text
    assert "| CCA | bow | unsupervised | .500 |" in text  # not bold: DSCMR is better
    assert "| task | method | text | supervision | 16 bits |" in text
    assert "| I→T | SH | glove | unsupervised | **.300** |" in text
    assert "| text |" not in unpadded(table_markdown(small_results(rows=rows[:1]).table))


def test_rows_whose_encoder_was_trained_on_the_captions_have_tables_of_their_own(monkeypatch):
    monkeypatch.setattr(encoder_class("text", "glove"), "trained_on", lambda name: {"wiki": "It read them."})
    rows = [
        small_row("cca", 0.7, text="glove"),
        small_row("cca", 0.4, text="bow"),
        small_row("dscmr", 0.3, text="bow"),
    ]
    text = unpadded(table_markdown(small_results(rows=rows).table))
    clean, flattered = text.split("### With an encoder that was trained on these captions")
    assert flattered.startswith("\n\nIt read them. These figures do not compare with those above.\n\n| method |")
    assert "| CCA | unsupervised | **.500** |" in clean
    assert "| CCA | unsupervised | .800 |" in flattered


def test_what_has_no_row_for_one_reason_has_one_line():
    reasons = {"DAN": "it eats regions", "CCA": "not trained", "SH": "not trained"}
    missing = [NotMeasured(title.lower(), title, reason) for title, reason in reasons.items()]
    text = results_markdown(small_results(not_measured=missing))
    assert "Not measured:\n\n- DAN: it eats regions\n- CCA; SH: not trained\n\n" in text
