from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pytest
from PIL import Image

from cmr_hub.data import info
from cmr_hub.retrieval.gallery import Gallery, Hit
from cmr_hub.space.components import markup
from cmr_hub.space.components.images import MAX_EDGE, data_uri, image_of
from cmr_hub.space.components.items import MAX_CAPTION, card_of, cut
from cmr_hub.space.services.average_precision import average_precision_of
from cmr_hub.space.services.catalogue import Entry, Source
from cmr_hub.space.services.examples import example_text, typical_items
from cmr_hub.space.services.preparation import Progress
from cmr_hub.space.services.queries import Answer, Asked, Query

EVIL = '<script>alert("1")</script>'


SOURCE = Source("cca", "test/cca", None, takes_texts=True, takes_images=True)


def results(gallery: Gallery, query: Query, target: str, k: int = 3, is_private: bool = False, notes=()) -> str:
    """The page's part for a query; of a text, with the hits of another one."""
    hits = gallery.search(item=query.value, target=target, k=k) if query.kind == "item" else []
    hits = hits or gallery.search(text="red", target=target, k=k)
    answer = Answer(gallery, Asked(query, target, k), hits, 0.0123, notes)
    return markup.results(answer, Entry(info("wiki"), {"cca": SOURCE}, is_private=is_private), "cca")


def tags(page: str) -> set[str]:
    return set(re.findall(r"<([a-z0-9]+)", page))


def test_hits_carry_image_caption_label_and_score(gallery: Gallery):
    page = results(gallery, Query("text", "red"), "image", k=4)
    assert page.count('class="cmr-hit"') == page.count('src="data:image/') == 4
    assert "a red apple" in page
    assert "fruit" in page
    assert 'alt="a red apple"' in page
    assert re.search(r">-?\d\.\d\d</span>", page)
    assert "4 nearest images of 4" in page
    assert "12 ms" in page


def test_words_without_a_vector_are_named(gallery: Gallery):
    page = results(gallery, Query("text", "red <qwxyz>"), "image", notes=["No vector for: qwxyz."])
    assert re.search(r'<p class="cmr-note" role="note">No vector for: qwxyz.</p>', page)
    assert "cmr-note" not in results(gallery, Query("text", "red"), "image")


def test_text_hits_show_all_their_texts_with_the_image(gallery: Gallery):
    page = results(gallery, Query("text", "red"), "text", k=4)
    assert "an old cat, again" in page
    assert page.count("<img ") == 4


def test_same_class_is_marked_and_counted(gallery: Gallery):
    page = results(gallery, Query("item", "apple"), "image", k=4)
    assert "<b>2 of 4</b> share its class" in page
    assert page.count('aria-label="same class"') == 3  # two hits, and the line that counts them
    assert "to its text" in page
    precision = average_precision_of(gallery, "apple", "text", "image")
    assert f"<b>{precision:.3f}</b>" in page


def test_answer_has_a_link_that_others_can_follow(gallery: Gallery):
    page = results(gallery, Query("text", "a red & a green"), "image")
    assert "?gallery=wiki&amp;model=cca&amp;text=a+red+%26+a+green&amp;target=image&amp;k=3" in page
    assert "data-link" not in results(gallery, Query("text", "red"), "image", is_private=True)


def test_score_of_codes_is_told_as_a_distance(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    assert 'title="cosine similarity; rank 1"' in results(gallery, Query("text", "red"), "image")
    model = SimpleNamespace(is_hashing=True, default_focus=None, config=SimpleNamespace(embed_dim=64))
    monkeypatch.setattr(gallery.retriever, "model", model)
    hit = replace(gallery_hit(), score=1 - 2 * 5 / 64)
    assert card_of(gallery, hit, "image", 2).meaning == "Hamming distance 5 of 64 bits"


def gallery_hit() -> Hit:
    return Hit("apple", 0.5, ("a red apple",), ("fruit",), 0)


def test_whatever_comes_from_data_or_people_is_escaped(gallery: Gallery):
    page = results(gallery, Query("text", EVIL), "image", k=4, notes=[EVIL])
    assert not tags(page) & {"script", "b"}
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34; dog" in page
    assert 'data-item="dog&#34;&gt;&lt;i&gt;"' in page
    for part in (markup.notice(EVIL), markup.examples(gallery, [2], True)):
        assert not tags(part) & {"script", "b"}
    entry = Entry(info("wiki"), {})
    assert "script" not in tags(markup.needs(entry, Progress("running", 0.5, EVIL)))


def test_item_without_image_and_texts_is_named_by_its_id(features_gallery: Gallery):
    page = results(features_gallery, Query("item", "item-0"), "image")
    assert "Item item-0" in page
    assert "no image" in page
    assert 'class="cmr-label">' in page


def test_released_features_are_explained(features_gallery: Gallery):
    source = Source("cca", "cmr/cca-wiki", None, takes_texts=False, takes_images=False)
    entry = Entry(info("wiki"), {"cca": source})
    assert "neither words nor images" in markup.about(entry, features_gallery)
    examples = markup.examples(features_gallery, typical_items(features_gallery), takes_texts=False)
    assert "Start from" in examples
    assert "data-text" not in examples


def test_what_a_missing_gallery_needs():
    entry = Entry(info("pascal"), {})
    page = markup.needs(entry, None)
    assert "1,000 pairs of image and text in 20 classes. This gallery is not on this machine" in page
    assert "8,000 pairs of image and text. This" in markup.needs(Entry(info("flickr8k"), {}), None)
    assert info("pascal").source in page
    assert info("pascal").license in unescape(page)
    assert 'aria-valuenow="40"' in markup.needs(entry, Progress("running", 0.4, "Training"))
    assert 'role="alert"' in markup.needs(entry, Progress("failed", 0.4, "out of reach"))


def test_long_texts_are_cut():
    assert cut("word " * 1000).endswith("word …")
    assert len(cut("word " * 1000)) <= MAX_CAPTION + 2


def test_examples_stand_for_the_classes(gallery: Gallery):
    assert [gallery.labels(i) for i in typical_items(gallery)] == [("fruit",), ("animal",)]
    assert len(typical_items(gallery, count=1)) == 1
    assert example_text(gallery, 3) == "an old cat"


def test_without_texts_there_are_items_to_start_from(features_gallery: Gallery):
    assert 1 < len(typical_items(features_gallery)) <= 3
    assert example_text(features_gallery, 0) is None


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "JPEG")]
)
def test_images_are_small_and_lossless_where_it_shows(mode: str, kind: str):
    data = data_uri(Image.new(mode, (2000, 1000))).split(",")[1]
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format == kind
    assert image.size == (MAX_EDGE, MAX_EDGE // 2)


def test_small_images_keep_their_size(gallery: Gallery, features_gallery: Gallery):
    data = image_of(gallery, 0).split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (40, 30)
    assert image_of(features_gallery, 0) is None
