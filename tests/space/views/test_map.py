"""The map view, without a browser."""

from __future__ import annotations

import base64
import gc
import json
import re
import sys
import weakref
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List

from cmr_hub.errors import InputError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.retrieval.maps import NeighbourMap, PrincipalMap
from cmr_hub.space.components import map_figure
from cmr_hub.space.components.charts import COLOURS, GREY
from cmr_hub.space.components.map_figure import draw
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.services.catalogue import Catalogue, Source
from cmr_hub.space.services.map_layouts import PCA, TSNE, map_command, map_path
from cmr_hub.space.services.preparation import Preparations
from cmr_hub.space.services.queries import Asked, Query
from cmr_hub.space.views.map import BOTH, MapView
from small_space import OneGallery
from toys import feature_dataset, feature_retriever

WHERE = ("small", "cca")
RED = Asked(Query("text", "red"), "image", 3)


def make_view(catalogue: Any, command: Callable[[Any], list[str]] = map_command) -> MapView:
    with gr.Blocks(analytics_enabled=False):
        session_state = SessionState.lay_out(catalogue)
        session_state.tabs.render()
        return MapView(catalogue, session_state, Preparations(command))


@pytest.fixture
def view(catalogue: Any) -> MapView:
    return make_view(catalogue)


def traces(plot: Any) -> list[dict]:
    return json.loads(plot.plot)["data"]


def values(array: dict) -> np.ndarray:
    """An array as plotly stores it."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])


def marks(question: str) -> dict:
    return json.loads(unescape(re.search(r'data-marks="([^"]*)"', question)[1]))


def pointed_at(row: int, modality: str) -> Any:
    return SimpleNamespace(row=row, modality=modality)


def test_points_are_those_of_the_map(gallery: Gallery):
    layout = PrincipalMap.of(gallery)
    found = {}
    for trace in traces(draw(gallery, layout, ["image", "text"]).plot):
        if trace["meta"] not in ("cmr-star", "cmr-rings"):
            group = (trace["meta"]["group"], trace["meta"]["modality"], trace["marker"]["symbol"])
            points = np.stack([values(trace["x"]), values(trace["y"])], axis=1)
            found[group] = (values(trace["customdata"]).tolist(), points)
    assert set(found) == {
        (g, *modality) for g in (0, 1) for modality in (("image", "circle"), ("text", "triangle-up"))
    }
    for (group, modality, _), (rows, points) in found.items():
        assert rows == ([0, 1], [2, 3])[group]
        np.testing.assert_array_equal(points, layout.points[modality][rows])


def test_axes_say_what_they_carry(gallery: Gallery):
    layout = PrincipalMap.of(gallery)
    axes = json.loads(draw(gallery, layout, ["image"]).plot.plot)["layout"]
    assert axes["xaxis"]["title"]["text"] == f"First component: {layout.shares[0]:.1%} of the variance"
    laid_out = json.loads(draw(gallery, NeighbourMap.of(gallery), ["image"]).plot.plot)["layout"]
    assert laid_out["xaxis"]["title"].get("text") is None


def labelled(classes: list[list[int]], names: list[str]) -> Gallery:
    base = feature_dataset(len(classes)).remove_columns("label")
    columns = {**base.to_dict(), "labels": classes}
    features = Features({**base.features, "labels": List(ClassLabel(names=names))})
    return Gallery.from_dataset(Dataset.from_dict(columns, features=features), feature_retriever())


def test_the_first_class_counts_and_small_ones_share_grey():
    names = [f"class {i:02d}" for i in range(25)]
    gallery = labelled([[i, 24] for i in range(24)] + [[i] for i in range(4, 24)], names)
    legend = draw(gallery, PrincipalMap.of(gallery), ["image"]).legend
    assert [each.name for each in legend] == [*names[4:24], "Other classes"]
    assert [each.colour for each in legend] == [*COLOURS, GREY]
    assert [each.items for each in legend] == [2] * 20 + [4]


def test_items_without_a_class_are_grey():
    gallery = labelled([[0], [], [1], []], ["a", "b"])
    legend = draw(gallery, PrincipalMap.of(gallery), ["image"]).legend
    assert [(each.name, each.items) for each in legend] == [("a", 1), ("b", 1), ("No class", 2)]
    assert legend[-1].colour == GREY


def test_a_gallery_without_classes_has_one_colour_and_no_legend():
    gallery = Gallery.from_dataset(feature_dataset(6).remove_columns("label"), feature_retriever())
    drawing = draw(gallery, PrincipalMap.of(gallery), ["image", "text"])
    assert drawing.legend == []
    assert {trace["marker"]["color"] for trace in traces(drawing.plot)[:2]} == {COLOURS[0]}


def test_of_too_many_points_some_are_drawn_and_it_is_said(catalogue: Any, view: MapView, monkeypatch):
    monkeypatch.setattr(map_figure, "MAX_POINTS", 4)
    assert "2 of 4 items, chosen by their ids, are drawn" in view.show(PCA, BOTH, None, RED, *WHERE)[view.about]
    assert "items" not in view.show(PCA, "image", None, RED, *WHERE)[view.about]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_stand_out_in_light_and_dark_and_from_each_other():
    for colour in (*COLOURS, GREY):
        own = luminance(colour) + 0.05
        assert min(1.05 / own, own / (luminance("#0c0a09") + 0.05)) >= 3
    channels = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (*COLOURS, GREY)])
    distances = np.linalg.norm(channels[:, None] - channels[None], axis=2)
    assert distances[~np.eye(len(distances), dtype=bool)].min() > 20


def test_the_question_and_its_nearest_are_marked_where_they_lie(view: MapView, gallery: Gallery):
    shown = view.show(PCA, BOTH, None, RED, *WHERE)
    layout = PrincipalMap.of(gallery)
    found = marks(shown[view.question])
    np.testing.assert_allclose(found["star"], layout.place(gallery.retriever.encode_texts(["red"]))[0], atol=1e-5)
    nearest = [hit.position for hit in gallery.search(text="red", target="image", k=3)]
    np.testing.assert_allclose(np.transpose(found["rings"]), layout.points["image"][nearest], atol=1e-5)


def test_a_figure_that_stands_is_not_drawn_again(view: MapView):
    first = view.show(PCA, BOTH, None, RED, *WHERE)
    again = view.show(PCA, BOTH, first[view.drawn], RED, *WHERE)
    assert view.plot in first
    assert view.plot not in again
    assert view.question in again
    assert view.plot in view.show(PCA, "text", first[view.drawn], RED, *WHERE)


def test_opening_draws_with_what_is_chosen(view: MapView):
    first, second = (view.open(*WHERE, RED)[view.opened] for _ in range(2))
    assert first != second
    assert view.page == [view.opened]


def test_a_clicked_point_is_the_question_with_its_side(view: MapView, gallery: Gallery):
    update = view.on_point(pointed_at(2, "image"), PCA, RED, *WHERE)
    assert update[view.session_state.asked] == Asked(Query("item", 'dog"><i>', "image"), "image", 3)
    assert "&lt;b&gt;bold&lt;/b&gt;" in update[view.card]
    np.testing.assert_allclose(marks(update[view.question])["star"], PrincipalMap.of(gallery).points["image"][2])
    assert update[view.text]["value"] == ""


def test_words_look_for_images_until_told_otherwise(view: MapView):
    texts = Asked(Query("item", "apple"), "text", 2, "fruit")
    assert view.on_text("red", PCA, texts, *WHERE)[view.session_state.asked].target == "image"
    asked = view.on_text("red", PCA, Asked(Query("text", "green"), "text", 2), *WHERE)[view.session_state.asked]
    assert (asked.query, asked.target, asked.k) == (Query("text", "red"), "text", 2)
    assert view.on_text("red", PCA, None, *WHERE)[view.session_state.asked] == RED


def test_an_image_is_placed(view: MapView, image_file: Path, received: Any):
    path = received(image_file)
    update = view.on_image({"path": path}, PCA, RED, *WHERE)
    assert update[view.session_state.asked].query == Query("image", path)
    assert update[view.embedded].shape == (1, 3)
    assert "Your image" in update[view.question]


@pytest.mark.parametrize("text", ["", "qwxyzzq"])
def test_refused_words_show_a_notice_and_no_marks(view: MapView, text: str):
    update = view.on_text(text, PCA, RED, *WHERE)
    assert 'role="alert"' in update[view.question]
    assert "data-marks" not in update[view.question]
    assert view.session_state.asked not in update


def test_an_upload_that_has_gone_shows_a_notice_beside_the_map(view: MapView, tmp_path: Path):
    gone = Asked(Query("image", str(tmp_path / "gone.png")), "text", 3)
    update = view.show(PCA, BOTH, None, gone, *WHERE)
    assert "gone.png" in update[view.question]
    assert str(tmp_path) not in update[view.question]
    assert len(traces(update[view.plot])) > 2


def test_the_card_shows_what_is_pointed_at(view: MapView):
    card = view.on_pointer(pointed_at(2, "text"), None, RED, *WHERE)
    assert 'src="data:image/' in card
    assert "Text · <b>animal</b>" in card
    assert "<b>bold" not in card
    assert "cmr-code" not in card


@pytest.mark.parametrize(("row", "modality"), [(-1, "text"), (4, "text"), (0, "sound"), (0, "")])
def test_points_that_are_not_on_the_map_are_refused(view: MapView, row: int, modality: str):
    for ask in (
        lambda point: view.on_pointer(point, None, RED, *WHERE),
        lambda point: view.on_point(point, PCA, RED, *WHERE),
    ):
        with pytest.raises(InputError, match="no such point on this map"):
            ask(pointed_at(row, modality))


@pytest.fixture
def codes_view() -> MapView:
    return make_view(OneGallery(Gallery.from_dataset(feature_dataset(8), feature_retriever("sh"))))


def test_codes_are_shown_and_compared(codes_view: MapView):
    gallery = codes_view.catalogue.open()
    asked = Asked(Query("item", "item-3", "text"), "image", 3)
    update = codes_view.show(PCA, BOTH, None, asked, *WHERE)
    question = update[codes_view.embedded]
    np.testing.assert_array_equal(question[0], gallery.embeds["text"][3])
    card = codes_view.on_pointer(pointed_at(5, "image"), question, asked, *WHERE)
    assert card.count("<figure") == 3
    bits = {modality: "".join(f"{byte:08b}" for byte in embeds[5]) for modality, embeds in gallery.embeds.items()}
    own = sum(a != b for a, b in zip(bits["image"], bits["text"], strict=True))
    words = f"differ in {own} of 16 bits" if own else "have the same 16 bits"
    assert f"Image and text {words}." in card
    asked_bits = "".join(f"{byte:08b}" for byte in question[0])
    distance = sum(a != b for a, b in zip(asked_bits, bits["image"], strict=True))
    words = f"differ in {distance} of 16 bits" if distance else "have the same 16 bits"
    assert f"What was asked and the image {words}." in card


def test_a_missing_tsne_is_prepared_while_components_are_shown(private_cache: Path, gallery: Gallery, catalogue: Any):
    body = "import json; print(json.dumps({'stage': 'done', 'fraction': 1, 'message': 'ready'}))"
    view = make_view(catalogue, lambda job: [sys.executable, "-c", body])
    before = view.show(TSNE, BOTH, None, RED, *WHERE)
    assert before[view.preparing]["visible"]
    assert "has not been laid out here yet" in before[view.progress]
    assert "Principal components" in before[view.about]
    view.on_prepare(*WHERE)
    job = ("small", catalogue.source())
    assert view.preparations.wait(job, 20).state == "done"
    NeighbourMap.of(gallery).save(map_path(*job), gallery)
    state = (TSNE, BOTH, before[view.drawn], RED, *WHERE)
    after = view.look(before[view.seen], *state)
    assert not after[view.preparing]["visible"]
    assert not after[view.timer].active
    assert "no projection" in after[view.about]
    assert view.look(after[view.seen], *state) == {view.seen: after[view.seen]}


def test_a_preparation_can_be_stopped(private_cache: Path, catalogue: Any):
    view = make_view(catalogue, lambda job: [sys.executable, "-c", "import time; time.sleep(60)"])
    started = view.on_prepare(*WHERE)
    assert started[view.stop]["visible"]
    assert not started[view.prepare]["visible"]
    stopped = view.on_stop(*WHERE)
    assert view.preparations["small", catalogue.source()].state == "stopped"
    assert "progressbar" in started[view.progress]
    assert "progressbar" not in stopped[view.progress]
    assert stopped[view.prepare]["visible"]


def test_the_tsne_of_another_gallery_is_not_shown(private_cache: Path, view: MapView):
    other = Gallery.from_dataset(feature_dataset(8), feature_retriever())
    NeighbourMap.of(other).save(map_path("small", view.catalogue.source()), other)
    update = view.show(TSNE, BOTH, None, RED, *WHERE)
    assert "other items, or by another checkpoint" in update[view.progress]
    assert update[view.preparing]["visible"]
    assert "Principal components" in update[view.about]


def test_a_visitors_own_gallery_has_components_alone_and_goes_with_them(gallery: Gallery):
    catalogue = Catalogue(["pascal"])
    own = Gallery(gallery.dataset, gallery.retriever, gallery.embeds["image"], gallery.embeds["text"])
    gone = weakref.ref(own)
    catalogue.add_own("own-x", "Mine", {"cca": own})
    view = make_view(catalogue)
    update = view.show(TSNE, BOTH, None, RED, "own-x", "cca")
    assert not update[view.layout].visible
    assert not update[view.preparing]["visible"]
    assert "Principal components" in update[view.about]
    assert not view.on_prepare("own-x", "cca")[view.preparing]["visible"]
    assert view.preparations["own-x", catalogue.source("own-x")] is None
    catalogue.remove_own("own-x")
    del own, update
    gc.collect()
    assert gone() is None


def test_the_command_is_the_one_that_a_person_types(private_cache: Path, tmp_path: Path):
    saved = Source("cca", "cmr/cca-emoji", tmp_path, True, True)
    assert map_command(("emoji", saved))[1:] == [
        *("-m", "cmr_hub.cli", "map", "--gallery", str(tmp_path), "--progress", "json")
    ]
    assert map_path("emoji", saved) == tmp_path / "map.safetensors"
    embedded = Source("cca", "cmr/cca-emoji", None, True, True)
    assert map_command(("emoji", embedded))[1:] == [
        *("-m", "cmr_hub.cli", "map", "--dataset", "emoji", "--checkpoint", "cmr/cca-emoji", "--progress", "json")
    ]
    assert map_path("emoji", embedded).is_relative_to(private_cache)


def test_a_gallery_of_images_alone(gallery: Gallery):
    view = make_view(OneGallery(Gallery(gallery.dataset, gallery.retriever, gallery.embeds["image"], None)))
    update = view.show(PCA, "text", None, Asked(Query("text", "red"), "text", 2), *WHERE)
    assert not update[view.modalities].visible
    assert "2 nearest images are ringed" in update[view.question]
    assert {trace["meta"]["modality"] for trace in traces(update[view.plot])[:-2]} == {"image"}


def test_page_that_loads_draws_no_map(view: MapView):
    assert view.on_open(0, PCA, BOTH, None, RED, *WHERE) == gr.skip()
    assert view.plot in view.on_open(1, PCA, BOTH, None, RED, *WHERE)
