"""What the view of attention shows, without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

import cmr_hub
from attending import captioned, red_seeker, spotted
from cmr_hub.data import load_dataset
from cmr_hub.retrieval.explanation import Explanation
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.components.look_markup import place_in_words, side_by_side
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.services.looking import Pair, look
from cmr_hub.space.services.queries import MAX_TEXT, Asked, Query
from cmr_hub.space.views.look import LookView
from small_space import bundled_catalogue

RED = ("own-red", "dan")
TEXTS = [["a red square"], ["a green square"], ["a blue <b>square</b>"]]


@pytest.fixture(scope="module")
def view() -> LookView:
    catalogue = bundled_catalogue(["emoji"])
    items = captioned([spotted(0, 0), spotted(1, 3), spotted(3, 2)], TEXTS)
    catalogue.add_own(RED[0], "Red spots", {RED[1]: Gallery.from_dataset(items, red_seeker(), cache=False)})
    with gr.Blocks(analytics_enabled=False):
        return LookView(catalogue, SessionState.lay_out(catalogue))


def asked(kind: str, value: str) -> Asked:
    return Asked(Query(kind, value), "image")


def words(panel: str, step: str) -> list[str]:
    part = panel.split(f'aria-label="{step}"')[1].split("</section>")[0]
    return [re.sub("<[^>]+>", "", word) for word in re.findall(r"<li.*?>(.*?)</li>", part)]


def test_it_is_for_models_that_attend_alone(view: LookView):
    assert view.is_for(*RED)
    assert not view.is_for("emoji", "dscmr")


def test_an_item_is_looked_at_with_its_own_text(view: LookView):
    update = view.open(*RED, asked("item", "1"))
    assert (update[view.query], update[view.text]) == (Query("item", "1"), "a green square")
    assert "Step 1 weighs the middle right of the image most, one of 16 regions" in update[view.panel]
    assert words(update[view.panel], "Image and text") == ["a", "green", "square"]
    assert words(update[view.panel], "Step 2") == ["a 33.3%", "green 33.3%", "square 33.3%"]


def test_a_text_is_read_with_the_image_that_it_finds_first(view: LookView):
    update = view.open(*RED, asked("text", "a red square"))
    first = view.catalogue.open(*RED).search(text="a red square", target="image", k=1)[0]
    assert (update[view.query], update[view.text]) == (Query("item", first.id), "a red square")
    score = look(view.catalogue.open(*RED), Pair(update[view.query], "a red square")).score
    assert f"cosine <b>{score:.3f}</b>" in update[view.panel]
    assert score == pytest.approx(first.score, abs=1e-6)


def test_an_upload_is_looked_at_with_the_text_that_it_finds_first(view: LookView, tmp_path: Path, received: Any):
    spotted(2, 0).save(tmp_path / "spot.png")
    update = view.open(*RED, asked("image", received(tmp_path / "spot.png")))
    assert update[view.text] == "a red square"
    assert "the middle left of the image" in update[view.panel]


def test_another_text_is_read_with_the_same_image(view: LookView):
    before = view.open(*RED, asked("item", "1"))
    update = view.on_text("a zebra & a <i>green</i> spot", before[view.query], *RED)
    assert update[view.query] == Query("item", "1")
    assert "zebra (unknown)" in " ".join(words(update[view.panel], "Step 1"))
    assert "dashed frame" in update[view.panel]
    assert "<i>green" not in update[view.panel]
    assert view.on_text("anything", None, *RED) == gr.skip()


def test_a_clicked_image_comes_with_the_text_that_was_asked_or_with_its_own(view: LookView):
    clicked = SimpleNamespace(item="2")
    assert view.on_click(clicked, asked("text", "red"), *RED)[view.text] == "red"
    update = view.on_click(clicked, asked("item", "0"), *RED)
    assert (update[view.query].value, update[view.text]) == ("2", TEXTS[2][0])
    assert "<b>square" not in update[view.panel]


def test_an_image_that_is_dropped_is_looked_at_with_the_text_that_is_there(
    view: LookView, tmp_path: Path, received: Any
):
    spotted(0, 3).save(tmp_path / "spot.png")
    update = view.on_image({"path": received(tmp_path / "spot.png")}, "a blue square", *RED)
    assert update[view.text] == "a blue square"
    assert "the top right of the image" in update[view.panel]
    assert view.image not in update


@pytest.mark.parametrize(
    ("query", "text", "message"),
    [
        (Query("item", "0"), "  ", "no text to read"),
        (Query("item", "0"), "x" * (MAX_TEXT + 1), "2,001 characters"),
        (Query("item", "nobody"), "a", "no item &#39;nobody&#39;"),
        (Query("image", "/tmp/gone.png"), "a", "no longer on the server"),
    ],
)
def test_what_cannot_be_looked_at(view: LookView, query: Query, text: str, message: str):
    panel = view.on_text(text, query, *RED)[view.panel]
    assert 'role="alert"' in panel
    assert message in panel


def test_an_image_that_is_none_is_refused(view: LookView, no_image: Path, received: Any):
    panel = view.on_image({"path": received(no_image)}, "a", *RED)[view.panel]
    assert "broken.png is not an image" in panel
    assert str(no_image.parent) not in panel


def test_shades_run_to_the_largest_word_of_each_step():
    regions = np.full((1, 2, 2), 0.25, np.float32)
    weights = np.array([[0.2, 0.6, 0.2]], np.float32)
    html = side_by_side(Explanation(spotted(0, 0), "a b c", ["a", "b", "c"], [True] * 3, regions, weights, score=None))
    assert re.findall(r"--shade: (\d+)%", html) == ["33", "100", "33"]
    assert "largest: region 25%, word 60%" in html
    assert "cosine" not in html


def test_places_have_names():
    grid = np.zeros((7, 7))
    names = {}
    for row in range(7):
        for column in range(7):
            grid[:] = 0
            grid[row, column] = 1
            names[row, column] = place_in_words(grid)
    assert (names[0, 0], names[3, 3], names[6, 3], names[3, 6]) == (
        *("the top left", "the middle", "the bottom centre"),
        "the middle right",
    )
    assert len(set(names.values())) == 9


@pytest.mark.slow
def test_the_bundled_model_looks_at_real_images(real_data: Path, private_cache: Any):
    if not (real_data / "rsicd").is_dir():
        pytest.skip(f"no RSICD in {real_data}")
    items = load_dataset("rsicd", data_dir=real_data / "rsicd")["test"].select(range(12))
    gallery = Gallery.from_dataset(items, cmr_hub.from_pretrained("cmr/dan-rsicd"), cache=False)
    catalogue = bundled_catalogue(["emoji"])
    catalogue.add_own("own-aerial", "Aerial", {"dan": gallery})
    with gr.Blocks(analytics_enabled=False):
        view = LookView(catalogue, SessionState.lay_out(catalogue))
    update = view.open("own-aerial", "dan", asked("item", gallery.ids[3]))
    assert update[view.text] == gallery.texts(3)[0]
    assert update[view.panel].count('class="cmr-step"') == 3
    assert "one of 49 regions" in update[view.panel]
    assert "data-item" in update[view.choices]
