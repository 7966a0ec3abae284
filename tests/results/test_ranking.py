from cmr_hub.encoders import encoder_class
from cmr_hub.encoders.spec import EncoderSpec
from cmr_hub.results.ranking import (
    best_first,
    best_of_each,
    by_code_length,
    by_reason,
    differing_encoders,
    real_valued,
    row_label,
    saw_captions,
)
from small_results import CLEAN, CODES, PAPER, small_results, small_row

ROWS = small_results().table.rows
ENCODED = [
    *(small_row("cca", 0.5, text="glove"), small_row("dscmr", 0.4, text="glove"), small_row("cca", 0.3, text="bow")),
    *(
        small_row("sh", mean, protocols=(CODES,), bits=bits, text=text)
        for text, bits, mean in (("bow", 16, 0.1), ("glove", 16, 0.4), ("bow", 64, 0.2))
    ),
    small_row("klsh", 0.3, protocols=(CODES,), bits=16, text="glove"),
]


def test_the_best_mean_stands_first_and_equal_ones_by_title():
    rows = [
        small_row("dscmr", 0.3),
        small_row("acmr", 0.5),
        small_row("cca", 0.3),
        small_row("gma", 0.9, protocols=(PAPER,)),
    ]
    assert [row.method for row in best_first(rows, CLEAN)] == ["acmr", "cca", "dscmr"]


def test_codes_and_real_valued_methods_stand_apart():
    assert [row.method for row in real_valued(ROWS, CLEAN)] == ["dscmr", "cca"]
    assert [row.method for row in real_valued(ROWS, PAPER)] == ["dscmr"]
    assert real_valued(ROWS, CODES) == []
    assert by_code_length(ROWS, CLEAN) == {}


def test_codes_are_sorted_by_their_average_and_their_length():
    methods = by_code_length(ROWS[::-1], CODES)
    assert {title: list(rows) for title, rows in methods.items()} == {"KLSH": [16, 64], "SH": [16, 64]}
    assert list(methods) == ["KLSH", "SH"]


def test_rows_of_one_method_stand_where_its_best_encoders_stand():
    assert [row_label(row, ENCODED) for row in best_first(ENCODED, CLEAN)] == ["CCA, glove", "CCA, bow", "DSCMR"]


def test_codes_of_one_method_have_a_curve_for_each_encoder():
    methods = by_code_length(ENCODED, CODES)
    assert [(label, list(rows)) for label, rows in methods.items()] == [
        *(("SH, glove", [16]), ("SH, bow", [16, 64]), ("KLSH", [16]))
    ]
    assert list(best_of_each(methods)) == ["SH, glove", "KLSH"]


def test_encoders_are_named_where_they_differ():
    assert differing_encoders(ENCODED) == ["text"]
    assert differing_encoders(ENCODED[:2]) == []
    options = small_row("cca", 0.5, settings={"image": "vgg19", "text": "word2vec", "text.window": 3, "embed_dim": 9})
    assert options.encoders == {"image": EncoderSpec("vgg19"), "text": EncoderSpec("word2vec", {"window": 3})}
    assert row_label(options, [options, small_row("cca", 0.1, text="glove")]) == "CCA, vgg19, word2vec (window=3)"


def test_rows_whose_encoder_was_trained_on_the_captions_stand_apart(monkeypatch):
    monkeypatch.setattr(encoder_class("text", "glove"), "trained_on", lambda name: {"wiki": "It read them."})
    glove, bow = small_row("cca", 0.5, text="glove"), small_row("cca", 0.4, text="bow")
    unknown = small_row("cca", 0.3, text="of-a-package-that-is-not-here")
    assert by_reason([glove, bow, unknown], "wiki") == {"": [bow, unknown], "It read them.": [glove]}
    assert list(by_reason([glove, bow], "emoji")) == [""]
    assert saw_captions({}, "wiki") == ""
