"""Searches by several weighted terms, against sums of embeddings written out."""

import numpy as np
import pytest
from PIL import Image

from closeness import assert_hits
from cmr_hub import Gallery, Query, Term
from cmr_hub.errors import InputError
from cmr_hub.modeling.codes import unpack
from cmr_hub.retrieval.embedding import Embedder
from toys import feature_dataset, feature_retriever, image_dataset, raw_retriever
from two_parts import dataset_of_halves, retriever_of_halves


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def gallery(folder):
    return Gallery.from_dataset(image_dataset(folder), raw_retriever(), cache=False)


@pytest.fixture(scope="module")
def halves():
    return Gallery.from_dataset(dataset_of_halves(), retriever_of_halves())


@pytest.fixture(scope="module")
def hasher():
    """Codes of 16 bits with the values behind them."""
    return Gallery.from_dataset(feature_dataset(), feature_retriever("sh"), keep_real_valued=True)


def unit(row):
    return row / np.linalg.norm(row)


def test_words_and_an_image_are_one_query(gallery, folder):
    hits = gallery.search(text="red", image=folder / "blue.png", k=3)
    words, image = (
        gallery.retriever.encode_texts(["red"])[0],
        gallery.retriever.encode_images([folder / "blue.png"])[0],
    )
    scores = gallery.embeds["image"] @ unit(words + image)
    assert [hit.position for hit in hits] == np.argsort(-scores).tolist()
    assert [hit.score for hit in hits] == pytest.approx(np.sort(scores)[::-1], abs=1e-5)
    assert [hit.same_class for hit in hits] == [None] * 3


def test_weights_and_negative_terms(gallery):
    weights = {"red": 1, "green": 0.5, "blue": -0.75}
    hits = gallery.search(text=weights, target="text", k=3)
    query = unit(np.array(list(weights.values())) @ gallery.retriever.encode_texts(list(weights)))
    assert {hit.position: hit.score for hit in hits} == pytest.approx(
        dict(enumerate(gallery.embeds["text"] @ query)), abs=1e-5
    )
    assert_hits(
        gallery.search(Query([Term(text=text, weight=by) for text, by in weights.items()]), target="text"), hits
    )


def test_scale_of_weights_does_not_count(gallery):
    assert_hits(gallery.search(text={"red": 2, "blue": -1}, k=3), gallery.search(text={"red": 20, "blue": -10}, k=3))
    assert_hits(gallery.search(text={"red": 7}, k=3), gallery.search(text="red", k=3))


def test_images_in_memory_have_weights_by_terms(gallery, folder):
    terms = [Term(image=Image.open(folder / "red.png"), weight=0.5), Term(text="blue")]
    hits = gallery.search(Query(terms), k=3)
    assert_hits(hits, gallery.search(text="blue", image={folder / "red.png": 0.5}, k=3))


def test_items_that_are_terms_are_left_out_where_they_would_be_found(gallery):
    assert {hit.id for hit in gallery.search(item={"red": 1, "blue": 1}, source="image", k=3)} == {"green"}
    assert len(gallery.search(item={"red": 1, "blue": 1}, source="text", k=3)) == 3
    mixed = Query([Term(item="red", source="image"), Term(item="blue", source="text", weight=-0.5)])
    assert {hit.id for hit in gallery.search(mixed, k=3)} == {"green", "blue"}


def test_several_combined_queries_are_embedded_at_once(gallery, folder, monkeypatch):
    calls, embed = [], Embedder.texts
    monkeypatch.setattr(Embedder, "texts", lambda self, texts, **by: calls.append(texts) or embed(self, texts, **by))
    texts, images = [{"red": 1, "blue": -0.5}, "green"], [folder / "green.png", folder / "red.png"]
    found = gallery.search(text=texts, image=images, target="text", k=2)
    assert calls == [["red", "blue", "green"]]
    for hits, text, image in zip(found, texts, images, strict=True):
        assert_hits(hits, gallery.search(text=text, image=image, target="text", k=2))


def test_words_without_a_vector_are_named_of_each_term(gallery, caplog):
    assert gallery.notes(text={"red mauve": 1, "purple blue": -0.5}) == [
        "No vector for: mauve. The query is answered without.",
        "No vector for: purple. The query is answered without.",
    ]
    gallery.search(text={"red mauve": 1, "purple blue": -0.5}, k=1)
    assert "No vector for: mauve." in caplog.text
    assert "No vector for: purple." in caplog.text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"text": {"red": 1, "purple": -0.5}}, "knows no word of 'purple'"),
        ({"text": {"red": 1, " ": 1}}, "empty"),
        ({"text": {"red": 1, "a red": -1}}, "cancel each other out"),
        ({"text": "red", "item": "violet"}, "no item 'violet'"),
        ({"text": "red", "image": "no-such-file.png"}, "no-such-file"),
        ({"text": ["blue", {"red": 1, "a red": -1}]}, "Query 2 of 2: .*cancel"),
    ],
)
def test_terms_that_cannot_be_used(gallery, query, message):
    with pytest.raises(InputError, match=message):
        gallery.search(**query)


def test_labels_confine_combined_queries(gallery):
    assert {hit.labels for hit in gallery.search(text={"red": 1, "blue": 1}, k=3, label="cool")} == {("cool",)}


@pytest.mark.parametrize("focus", [0, 0.3, 1])
def test_parts_are_weighed_by_the_focus(halves, focus):
    first, second = halves.ids[2], halves.ids[11]
    hits = halves.search(item={first: 1, second: -0.4}, source="text", focus=focus, k=len(halves))
    texts, images = halves.embeds["text"][[2, 11]], halves.embeds["image"]
    expected = 0
    for weight, part in ((1 - focus, slice(0, 8)), (focus, slice(8, 16))):
        query = unit(unit(texts[0][part]) - 0.4 * unit(texts[1][part]))
        expected = expected + weight * (images[:, part] @ query) / np.linalg.norm(images[:, part], axis=1)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1], abs=1e-5)
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.position] for hit in hits], abs=1e-5)


def test_codes_are_the_signs_of_the_summed_values(hasher):
    values = hasher.real_valued["text"][[3, 8]]
    summed = unit(values[0]) - 0.5 * unit(values[1])
    signs = np.where(summed > 0, 1, -1)
    hits = hasher.search(item={"item-3": 1, "item-8": -0.5}, k=60)
    expected = unpack(hasher.embeds["image"]) @ signs / 16
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.position] for hit in hits], abs=1e-6)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1], abs=1e-6)

    near = hasher.range_search(item={"item-3": 1, "item-8": -0.5}, radius=5)
    assert {hit.position for hit in near} == set(np.flatnonzero(expected >= 1 - 10 / 16))


def test_codes_are_reranked_by_the_summed_values(hasher):
    values = hasher.real_valued["text"][[3, 8]]
    summed = unit(unit(values[0]) + 2 * unit(values[1]))
    hits = hasher.search(item={"item-3": 1, "item-8": 2}, k=60, rerank=60)
    expected = hasher.real_valued["image"] @ summed
    assert [hit.position for hit in hits] == np.argsort(-expected, kind="stable").tolist()


def test_images_of_hashing_methods_are_combined_by_their_values(hasher):
    image = np.linspace(-1, 1, 6, dtype=np.float32)
    values = hasher.retriever.encode_images([image], real_valued=True)[0]
    summed = unit(values) - 0.25 * unit(hasher.real_valued["text"][0])
    hits = hasher.search(Query([Term(image=image), Term(item="item-0", source="text", weight=-0.25)]), k=60)
    expected = unpack(hasher.embeds["image"]) @ np.where(summed > 0, 1, -1) / 16
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.position] for hit in hits], abs=1e-6)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1], abs=1e-6)


@pytest.mark.parametrize(("index", "options"), [("faiss", {"factory": "Flat"}), ("kd_tree", {})])
def test_other_indexes_find_the_same(index, options):
    dataset, retriever = feature_dataset(), feature_retriever("cca")
    query = {"item": {"item-3": 1, "item-8": -0.5}, "k": 10}
    exact = Gallery.from_dataset(dataset, retriever, "exact")
    other = Gallery.from_dataset(dataset, retriever, index, index_options=options)
    assert_hits(other.search(**query), exact.search(**query))


def test_items_of_codes_without_values_are_not_combined():
    gallery = Gallery.from_dataset(feature_dataset(), feature_retriever("sh"))
    with pytest.raises(InputError, match=r"'item-3' is combined .* keep_real_valued=True"):
        gallery.search(item={"item-3": 1, "item-8": -0.5})
    assert gallery.search(item="item-3", k=1)


def test_an_item_alone_with_a_weight_is_the_item(hasher):
    assert_hits(hasher.search(item={"item-3": 0.5}, k=5), hasher.search(item="item-3", k=5))
