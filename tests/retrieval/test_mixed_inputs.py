"""`Retriever.encode` and `similarity`, used as sentence-transformers' code uses a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from closeness import assert_alike
from cmr_hub import Gallery
from cmr_hub.errors import InputError
from toys import feature_dataset, feature_retriever, image_dataset, image_files, raw_retriever
from two_parts import dataset_of_halves, retriever_of_halves


@pytest.fixture(scope="module")
def retriever():
    return raw_retriever()


@pytest.fixture(scope="module")
def gallery(retriever, tmp_path_factory):
    return Gallery.from_dataset(image_dataset(tmp_path_factory.mktemp("images")), retriever, cache=False)


def semantic_search(queries, corpus, score_function, top_k):
    """What `sentence_transformers.util.semantic_search` does with a model's embeddings and its `similarity`."""
    values, rows = torch.topk(score_function(queries, corpus), top_k, dim=1)
    return [
        [{"corpus_id": row, "score": score} for row, score in zip(of_rows, of_values, strict=True)]
        for of_rows, of_values in zip(rows.tolist(), values.tolist(), strict=True)
    ]


def test_code_for_sentence_transformers_finds_what_a_gallery_finds(retriever, gallery, tmp_path):
    corpus = retriever.encode([Image.open(path) for path in image_files(tmp_path)], convert_to_tensor=True)
    queries = retriever.encode(["red", "a blue square"], convert_to_tensor=True, normalize_embeddings=True)
    found = semantic_search(queries, corpus, retriever.similarity, top_k=3)
    for hits, expected in zip(found, gallery.search(text=["red", "a blue square"], k=3), strict=True):
        assert [hit["corpus_id"] for hit in hits] == [hit.position for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-4)


def test_texts_and_images_may_be_mixed(retriever, tmp_path):
    red, green, _ = map(Path, image_files(tmp_path))
    rows = retriever.encode(["red", red, "blue", Image.open(green), np.zeros((4, 4, 3), np.uint8)])
    assert_alike(rows[[0, 2]], retriever.encode_texts(["red", "blue"]))
    images = retriever.encode_images([red, green, np.zeros((4, 4, 3), np.uint8)])
    assert_alike(rows[[1, 3, 4]], images)


def test_one_input_gives_one_row(retriever, tmp_path):
    assert_alike(retriever.encode("red"), retriever.encode_texts(["red"])[0])
    path = Path(image_files(tmp_path)[0])
    assert_alike(retriever.encode(path), retriever.encode_images([path])[0])
    assert retriever.encode([]).shape == (0, 3)
    assert retriever.similarity(retriever.encode("red"), retriever.encode(["red", "blue"])).shape == (1, 2)


def test_similarities_of_codes_are_those_of_their_bits():
    retriever = feature_retriever("sh")
    gallery = Gallery.from_dataset(feature_dataset(), retriever)
    scores = retriever.similarity(gallery.embeds["text"], gallery.embeds["image"])
    hits = gallery.search(item="item-3", k=60)
    assert [scores[3, hit.position].item() for hit in hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)


@pytest.mark.parametrize("focus", [None, 0, 0.3, 1])
@pytest.mark.parametrize("hashing", [False, True])
def test_similarities_are_weighed_by_the_focus(focus, hashing):
    retriever = retriever_of_halves(hashing=hashing)
    gallery = Gallery.from_dataset(dataset_of_halves(), retriever)
    scores = retriever.similarity(gallery.embeds["text"], gallery.embeds["image"], focus=focus)
    hits = gallery.search(item=gallery.ids[4], k=20, focus=focus)
    assert [scores[4, hit.position].item() for hit in hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32), "cannot be compared"),
        (np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), "codes of 24 bits"),
        (np.zeros((1, 1, 3), np.float32), np.zeros((1, 3), np.float32), r"shape \(n, d\)"),
    ],
)
def test_what_cannot_be_compared(retriever, one, other, message):
    with pytest.raises(InputError, match=message):
        retriever.similarity(one, other)


def test_a_focus_of_one_part_is_refused(retriever):
    rows = retriever.encode(["red"])
    with pytest.raises(InputError, match="leave the focus out"):
        retriever.similarity(rows, rows, focus=0.5)
