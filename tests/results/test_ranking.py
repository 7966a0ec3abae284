from cmr_hub.results.ranking import best_first, by_code_length, real_valued
from small_results import CLEAN, CODES, PAPER, small_results, small_row

ROWS = small_results().table.rows


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
