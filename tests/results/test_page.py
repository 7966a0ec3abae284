import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_hub.evaluation import get_protocol
from cmr_hub.results import page as results_page
from cmr_hub.results.markdown import results_markdown
from cmr_hub.results.page import page_texts, write_results_page
from cmr_hub.results.plots import draw
from cmr_hub.results.schema import AblationRow, AblationSource, AblationTable
from scored import score
from small_results import CLEAN, CODES, PAPER, small_results, small_row
from tables import unpadded

ROOT = Path(__file__).parents[2]


def ablation(dataset):
    row = AblationRow("all", {name: [0.4] for name in ("image_to_text/map", "text_to_image/map", "map")}, {"map": 0.5})
    described = get_protocol("dscmr").describe()
    return AblationTable("Terms", "cca", dataset, [0], "dscmr", [row], AblationSource("Slides"), described)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page of two data sets, on one of which something was varied."""
    monkeypatch.setattr(results_page, "list_results", lambda: [small_results("emoji"), small_results("wiki")])
    monkeypatch.setattr(results_page, "list_ablations", lambda: [ablation("wiki"), ablation("rsicd")])
    assert write_results_page(tmp_path) == tmp_path / "RESULTS.md"
    return tmp_path


def test_each_data_set_has_its_plot_its_tables_and_its_ablations(page):
    emoji, wiki = ((page / f"docs/results/{name}.md").read_text() for name in ("emoji", "wiki"))
    for name, section in (("emoji", emoji), ("wiki", wiki)):
        alt = f"Mean and deviation of all methods on {name}"
        assert section.startswith(f"# {name}, test split\n\n![{alt}]({name}.png)\n\nPairs: 2,173 train")
        assert (page / f"docs/results/{name}.png").is_file()
        assert results_markdown(small_results(name)).split("\n\n", 1)[1].strip() in section
    assert "### Terms: cca on wiki" in wiki
    assert "Published: Slides" in wiki
    assert "### Terms" not in emoji
    assert "on rsicd" not in emoji + wiki


def test_a_data_set_whose_checkpoints_have_a_focus_shows_its_curves(tmp_path, monkeypatch):
    scores = [score("a", f"dscmr(focus={focus})", 0.6 - focus / 10) for focus in (0, 0.5, 1)]
    scores += [score("a", f"instance(focus={focus})", focus / 10) for focus in (0, 1)]
    monkeypatch.setattr(results_page, "list_scores", lambda: scores)
    monkeypatch.setattr(results_page, "list_results", lambda: [small_results("emoji"), small_results("wiki")])
    write_results_page(tmp_path)
    shown = {name: (tmp_path / f"docs/results/{name}.md").read_text() for name in ("emoji", "wiki")}
    (own,) = [name for name in shown if "### Focus of queries" in shown[name]]
    assert own == scores[0].dataset
    table = unpadded(shown[own])
    assert "| `me/a` | mAP | dscmr | .600 | .550 | .500 |" in table
    assert "| `me/a` | mR | instance | .000 | – | .100 |" in table
    assert (tmp_path / f"docs/results/{own}-focus.png").is_file()


def test_one_page_leads_to_all(page):
    lead, emoji, wiki = (page / "RESULTS.md").read_text().split("\n## ")
    assert lead.startswith("# Results\n\nMade by `cmr results`")
    for name, section in (("emoji", emoji), ("wiki", wiki)):
        linked = re.findall(r"\]\((.+?)\)", section)
        assert linked == [f"docs/results/{name}.md", f"docs/results/{name}.png"]
        assert "Pairs: 2,173 train, 693 test (the whole data set)." in section


def test_the_pages_in_the_repository_are_those_of_its_results():
    """`cmr results` writes them."""
    for path, text in page_texts().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text


def test_plots_are_small_and_the_same_whenever_they_are_drawn(page):
    plot = page / "docs/results/wiki.png"
    before = plot.read_bytes()
    with Image.open(plot) as image:
        assert image.info.keys() <= {"dpi"}
        assert len(np.unique(np.asarray(image.convert("L")))) > 10
    assert len(before) < 60_000
    write_results_page(page)
    assert plot.read_bytes() == before


def positions(panel):
    """Label of each line with error bars -> where its dots are."""
    return {drawn.get_label(): drawn.lines[0].get_xydata().tolist() for drawn in panel.containers}


def test_real_valued_methods_stand_best_first_with_what_was_chosen_on_the_test_split():
    panel, _ = draw(small_results()).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["DSCMR", "CCA"]
    assert positions(panel) == {
        "learns from classes": [[0.5, 0.0]],
        "learns from pairs": [[0.3, -1.0]],
        "epoch chosen on the test split": [[0.5, 0.0]],
    }
    published = next(line for line in panel.lines if line.get_label() == "published")
    np.testing.assert_allclose(published.get_xydata(), [[0.225, 0.0], [0.28, -1.0]])
    assert panel.get_xlabel() == "mAP under dscmr"


def test_a_method_has_a_line_for_each_choice_of_encoders_and_a_curve_for_the_best():
    rows = [small_row("cca", 0.3, text="glove"), small_row("cca", 0.4, text="bow"), small_row("gma", 0.2, text="bow")]
    codes = [
        small_row("sh", mean, protocols=(CODES,), bits=16, text=text) for text, mean in (("bow", 0.2), ("glove", 0.1))
    ]
    floats, curves = draw(small_results(rows=[*rows, *codes])).axes
    assert [label.get_text() for label in floats.get_yticklabels()] == ["CCA, bow", "CCA, glove", "GMA"]
    assert positions(floats)["learns from pairs"] == [[0.4, 0.0], [0.3, -1.0]]
    assert positions(curves) == {"SH, bow": [[0.0, 0.2]]}


def test_codes_are_lines_over_their_length():
    _, panel = draw(small_results()).axes
    assert positions(panel) == {"KLSH": [[0.0, 0.2], [1.0, 0.4]], "SH": [[0.0, 0.25], [1.0, 0.15]]}
    assert [label.get_text() for label in panel.get_xticklabels()] == ["16", "64"]
    klsh = panel.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(klsh[0], [[0, 0.19], [0, 0.21]])


def test_what_there_is_none_of_has_no_panel():
    (floats,) = draw(small_results(rows=[small_row("cca", 0.3)])).axes
    assert floats.get_xlabel() == f"mAP under {CLEAN}"
    (codes,) = draw(small_results(rows=[small_row("sh", 0.3, protocols=(CODES,), bits=16)])).axes
    assert codes.get_ylabel() == f"mAP under {CODES}"
    (paper,) = draw(small_results(rows=[small_row("cca", 0.3, protocols=(PAPER,))])).axes
    assert list(positions(paper)) == ["learns from pairs"]
