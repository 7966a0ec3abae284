from cmr_hub.evaluation import EvaluationResult, get_protocol
from cmr_hub.space.components.curve_charts import MAX_CURVES, draw


def result(*precision: float) -> EvaluationResult:
    curve = {"recall": [0.0, 0.5, 1.0], "precision": list(precision)}
    other = {**curve, "precision": [0.0, 0.0, 0.0]}
    curves = {"image_to_text": curve, "text_to_image": other}
    return EvaluationResult(get_protocol("dscmr"), {"map": 0.5}, "cosine", {}, {}, curves)


def test_a_line_a_checkpoint_in_the_direction_that_was_asked_for():
    figure = draw({"one": result(1.0, 0.7, 0.4), "two": result(0.9, 0.6, 0.3)}, "image_to_text", "Image → text")
    assert [line.name for line in figure.data] == ["one", "two"]
    assert list(figure.data[1].y) == [0.9, 0.6, 0.3]
    assert list(figure.data[0].x) == [0.0, 0.5, 1.0]
    assert figure.layout.title.text == "Image → text"


def test_lines_differ_without_colour_too():
    lines = draw({str(number): result(1.0, 0.7, 0.4) for number in range(MAX_CURVES)}, "image_to_text", "").data
    assert len({line.line.dash for line in lines}) == len({line.line.color for line in lines}) == MAX_CURVES


def test_backgrounds_are_the_pages_own():
    layout = draw({"one": result(1.0, 0.7, 0.4)}, "text_to_image", "").layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
