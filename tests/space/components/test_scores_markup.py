import re
from html import unescape

from cmr_hub.evaluation import EvaluationResult, get_protocol
from cmr_hub.results.leaderboard import Figures
from cmr_hub.results.schema import AblationRow, AblationSource, AblationTable
from cmr_hub.space.components import scores_markup
from cmr_hub.space.services.scoreboard import Scoreboard
from html_tables import rows
from scored import score

CITED = {"published": Figures(0.25, 0.2, 0.225), "published_in": "A <paper>"}
SCORES = [
    *(score("low", mean=0.3, **CITED), score("low", "dcmh", 0.35)),
    *(score("high", mean=0.4, bits=64, supervision="supervised", seeds=()), score("high", "dcmh", 0.33)),
    *(score("<b>odd</b>", mean=0.1), score("<b>odd</b>", "instance", 0.1)),
]


def board(protocol: str) -> str:
    return scores_markup.board(Scoreboard(SCORES), protocol, "Wikipedia")


def test_rows_are_best_first_with_all_that_a_number_needs():
    shown = board("dscmr")
    high, low, odd = rows(shown)
    assert high == [
        "HIGH",
        ".500",
        ".300",
        ".400",
        "–",
        "64",
        "glove",
        "classes",
        "Wikipedia",
        "closed form",
        "me/high",
    ]
    assert low == ["LOW", ".400", ".200", ".300", ".2251", "–", "glove", "pairs", "Wikipedia", "0", "me/low"]
    assert "<sup>1</sup>" in shown
    assert "mAP of 3 checkpoints on the test split of Wikipedia, protocol dscmr" in shown
    assert "<li>A &lt;paper&gt;: LOW image → text .250, text → image .200</li>" in shown
    assert odd[0] == "&lt;B&gt;ODD&lt;/B&gt;"


def test_a_score_whose_encoder_was_trained_on_the_captions_says_so():
    scores = [score("seen", mean=0.4, saw_captions="It read <them>."), score("unseen", mean=0.3)]
    shown = scores_markup.board(Scoreboard(scores), "dscmr", "Wikipedia")
    assert [row[0] for row in rows(shown)] == ["SEEN its encoder was trained on these captions", "UNSEEN"]
    assert "<li>SEEN: It read &lt;them&gt;.</li>" in shown
    assert "trained on the captions" not in board("dscmr")


def test_another_protocol_stands_against_the_usual_one():
    shown = board("dcmh")
    assert "<mark>gallery = the training split</mark>" in shown
    assert shown.count("<mark>") == 1
    assert [row[:1] + row[3:5] for row in rows(shown)] == [["LOW", ".350", "+.050"], ["HIGH", ".330", "−.070"]]
    assert "−.070 to +.050 against dscmr. 2 of 2 stand at another place" in shown
    assert "Published" not in shown
    assert "<mark>" not in board("dscmr")


def test_another_measure_is_said_to_be_none_that_compares():
    shown = board("instance")
    assert "mR of 1 checkpoint on" in shown
    assert "another measure" in shown
    assert "stand at another place" not in shown  # one alone has no place
    assert rows(shown)[0][4] == "–"


def test_one_checkpoint_has_one_change():
    shown = scores_markup.board(Scoreboard([score("a", mean=0.3), score("a", "dcmh", 0.35)]), "dcmh", "Wikipedia")
    assert "counted so: +.050 against dscmr." in shown


def test_headings_are_buttons_and_the_sorted_one_says_so():
    shown = board("dscmr")
    headings = re.findall(r'<th scope="col"([^>]*)><button type="button">(.*?)</button></th>', shown)
    assert [title for attributes, title in headings if "aria-sort" in attributes] == ["Mean"]
    assert len(headings) == len(rows(shown)[0])


def test_cells_carry_what_they_are_sorted_by():
    keys = re.findall(r'data-key="(.*?)"', board("dcmh").partition("<tbody>")[2])
    assert [float(keys[3]), float(keys[4]), keys[5]] == [0.35, 0.35 - 0.3, ""]


def test_a_checkpoint_of_this_machine_does_not_tell_where_it_is():
    here = Scoreboard([score("a", checkpoint="/home/somebody/cache/prepared/wiki/cca")])
    shown = scores_markup.board(here, "dscmr", "Wikipedia")
    assert rows(shown)[0][-1] == "trained here"
    assert "somebody" not in shown


def test_curves_stand_as_numbers_with_their_protocol():
    curve = {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.75, 0.5]}
    curves = {"image_to_text": curve, "text_to_image": {**curve, "precision": [0.9, 0.6, 0.3]}}
    result = EvaluationResult(get_protocol("dcmh"), {"map": 0.5}, "cosine", {}, {}, curves)
    shown = scores_markup.curve_figures({"A <b>": result})
    assert rows(shown) == [
        ["A &lt;b&gt;", "Image → text", "1.000", ".750", ".500"],
        ["A &lt;b&gt;", "Text → image", ".900", ".600", ".300"],
    ]
    assert get_protocol("dcmh").describe() in unescape(shown)


def ablation(title: str = "Terms", dataset: str = "wiki", published: bool = True) -> AblationTable:
    values = {"image_to_text/map": [0.4, 0.5], "text_to_image/map": [0.2, 0.2], "map": [0.3, 0.35]}
    return AblationTable(
        title,
        "cca",
        dataset,
        [0, 1],
        "dscmr",
        [AblationRow("<all>", values, {"map": 0.4} if published else {}), AblationRow("none", {}, {}, "no <column>")],
        AblationSource("Slides", "wiki") if published else AblationSource(),
        get_protocol("dscmr").describe(),
    )


def test_ablations_are_mean_and_deviation_beside_what_was_published():
    shown = scores_markup.ablations([ablation()])
    assert "CCA on Wikipedia" in shown
    assert rows(shown) == [
        ["&lt;all&gt;", ".450 ± .071", ".200 ± .000", ".325 ± .035", ".400"],
        ["none", "–", "–", "–", "–"],
    ]
    assert "mean ± deviation of seeds 0, 1; dscmr: mAP@all" in shown
    assert "Published: Slides.<" in shown
    assert "none cannot be measured here: no &lt;column&gt;" in shown


def test_ablations_of_other_data_say_where_the_published_figures_are_from():
    assert "Published: Slides, measured on Wikipedia." in scores_markup.ablations([ablation(dataset="emoji")])
    unpublished = scores_markup.ablations([ablation(published=False)])
    assert "Published" not in unpublished
    assert len(rows(unpublished)[0]) == 4


def test_what_tables_have_in_common_is_said_once():
    shown = scores_markup.ablations([ablation("Terms"), ablation("Layers"), ablation(dataset="emoji")])
    assert shown.count("<table") == 3
    assert shown.count("<h3") == 2
    assert shown.count("Published: Slides.<") == 1
    assert scores_markup.ablations([]) == ""


def test_titles_of_data_sets_are_short():
    assert [scores_markup.title_of(name) for name in ("emoji", "wiki", "elsewhere")] == [
        *("Emoji", "Wikipedia", "elsewhere")
    ]
