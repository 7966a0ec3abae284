from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cmr_hub.errors import InputError
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.services.queries import MAX_TEXT, Asked, Query, ask, open_upload


def test_text_looks_for_images_and_an_image_for_texts(catalogue: Any, image_file: Path, received: Any):
    assert Query("text", "a red apple").default_target == "image"
    assert Query("image", str(image_file)).default_target == "text"
    answer = ask(catalogue, Asked(Query("image", received(image_file)), "text", k=3))
    assert len(answer.hits) == 3
    assert answer.seconds > 0
    assert answer.average_precision is None


def test_unknown_words_are_a_note(catalogue: Any):
    assert "No vector for: purple." in ask(catalogue, Asked(Query("text", "red purple"), "image", k=1)).notes[0]
    assert not ask(catalogue, Asked(Query("text", "red"), "image", k=1)).notes


def test_item_marks_hits_of_its_class(catalogue: Any):
    answer = ask(catalogue, Asked(Query("item", "apple", "text"), "text", k=3))
    assert {hit.id: hit.same_class for hit in answer.hits} == {"pear": True, 'dog"><i>': False, "cat": False}
    ranked = [hit.id for hit in answer.hits]
    assert answer.average_precision == pytest.approx(1 / (1 + ranked.index("pear")))  # the only other of its class


def test_class_confines_the_hits(catalogue: Any):
    answer = ask(catalogue, Asked(Query("text", "red"), "image", 4, "animal"))
    assert {hit.labels for hit in answer.hits} == {("animal",)}
    with pytest.raises(InputError, match="no class 'sea'"):
        ask(catalogue, Asked(Query("text", "red"), "image", 4, "sea"))


def test_item_of_a_gallery_of_one_side_asks_with_that_side(gallery: Any):
    images = Gallery(gallery.dataset, gallery.retriever, gallery.embeds["image"], None)
    assert Asked(Query("item", "apple"), "image").source(images) == "image"
    assert Asked(Query("item", "apple"), "image").source(gallery) == "text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("red " * (MAX_TEXT // 4) + "!", "2,001 characters"),
        ("x" * 2**20, "1,048,576 characters"),
        ("qwxyz", "knows no word"),
        ("\U0001f600", "knows no word"),
        ("кошка", "knows no word"),
    ],
)
def test_text_that_cannot_be_searched(catalogue: Any, text: str, message: str):
    with pytest.raises(InputError, match=message):
        ask(catalogue, Asked(Query("text", text), "image", k=1))


def test_longest_text_is_searched(catalogue: Any):
    assert ask(catalogue, Asked(Query("text", "red " * (MAX_TEXT // 4)), "image", k=1)).hits


@pytest.mark.parametrize("k", [0, -1, "3", 2.5])
def test_impossible_k(catalogue: Any, k: object):
    with pytest.raises(InputError, match="k "):
        ask(catalogue, Asked(Query("text", "red"), "image", k=k))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_refused_upload_is_named_without_the_servers_folder(no_image: Path, tmp_path: Path, received: Any):
    with pytest.raises(InputError, match=r"^broken\.png is not an image"):
        open_upload(received(no_image))
    with pytest.raises(InputError, match=r"^gone\.png is no longer on the server"):
        open_upload(str(tmp_path / "gone.png"))
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"^huge\.png has 10000 x 10000 pixels"):
        open_upload(received(tmp_path / "huge.png"))


def test_a_large_upload_is_scaled_down(tmp_path: Path, received: Any):
    Image.new("L", (4200, 2200)).save(tmp_path / "large.png")
    assert open_upload(received(tmp_path / "large.png")).size == (2100, 1100)


def test_a_focus_reaches_the_search_and_the_average_precision(parts_catalogue: Any, parts_gallery: Gallery):
    asked = Asked(Query("item", "item 3"), "image", k=3)
    answers = [ask(parts_catalogue, replace(asked, focus=focus)) for focus in (None, 0, 0.5, 1)]
    assert [answer.hits for answer in answers[1::2]] == [
        parts_gallery.search(item="item 3", k=3, focus=focus) for focus in (0, 1)
    ]
    precisions = [answer.average_precision for answer in answers]
    assert precisions[0] == precisions[2]
    assert precisions[1] > precisions[3]
    ranked = [hit.same_class for hit in parts_gallery.search(item="item 3", k=len(parts_gallery), focus=1)]
    places = [place for place, is_right in enumerate(ranked, 1) if is_right]
    expected = sum(number / place for number, place in enumerate(places, 1)) / len(places)
    assert precisions[3] == pytest.approx(expected)


def test_a_focus_on_a_model_of_one_part_is_refused(catalogue: Any):
    asked = Asked(Query("text", "red"), "image", k=3, focus=0.2)
    with pytest.raises(InputError, match="embeds each item as one part"):
        ask(catalogue, asked)
    assert asked.of(catalogue.open()).focus is None
