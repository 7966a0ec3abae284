from cmr_hub.results.ranking import by_code_length, real_valued
from cmr_hub.space.components.result_charts import draw_codes, draw_floats
from small_results import CLEAN, CODES, small_results, small_row

ROWS = small_results().table.rows


def test_a_bar_a_method_with_its_deviation_the_best_on_top():
    chart = draw_floats(real_valued(ROWS, CLEAN), CLEAN)
    classes, pairs = chart.data
    assert (classes.name, pairs.name) == ("learns from classes", "learns from pairs")
    assert (classes.y, classes.x, classes.error_x.array) == (("DSCMR",), (0.5,), (0.02,))
    assert (pairs.y, pairs.x, pairs.error_x.array) == (("CCA",), (0.3,), (None,))
    assert chart.layout.yaxis.categoryarray == ("CCA", "DSCMR")  # from below
    assert "mAP" in chart.layout.title.text


def test_a_line_a_hashing_method_over_its_lengths():
    rows = [*ROWS, small_row("dcmh", 0.6, 0.03, protocols=(CODES,), bits=32)]
    chart = draw_codes(by_code_length(rows, CODES), CODES)
    assert [line.name for line in chart.data] == ["DCMH", "KLSH", "SH"]
    assert [line.line.dash for line in chart.data] == ["solid", "dot", "dot"]
    assert (chart.data[1].x, chart.data[1].y, chart.data[1].error_y.array) == (("16", "64"), (0.2, 0.4), (0.01, 0.01))
    assert chart.layout.xaxis.categoryarray == ("16", "32", "64")
    assert len({line.line.color for line in chart.data}) == 3


def test_names_are_no_markup():
    named = {"title": "<a href=x>"}
    floats = draw_floats([small_row("cca", 0.3, **named)], CLEAN)
    codes = draw_codes(by_code_length([small_row("sh", 0.3, protocols=(CODES,), bits=16, **named)], CODES), CODES)
    assert floats.data[1].y == ("&lt;a href=x&gt;",)
    assert codes.data[0].name == "&lt;a href=x&gt;"
