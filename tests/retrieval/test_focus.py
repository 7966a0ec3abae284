"""Searches with a focus against cosines of the parts, computed one by one."""

import numpy as np
import pytest

import cmr_hub
from cmr_hub.errors import InputError
from cmr_hub.indexes import INDEXES, Index
from cmr_hub.modeling.codes import unpack
from cmr_hub.modeling.embeddings import as_vectors
from cmr_hub.modeling.parts import focus_scale
from toys import feature_retriever
from two_parts import dataset_of_halves, retriever_of_halves

FOCUSES = [0, 0.25, 0.5, 0.75, 1]


@pytest.fixture(scope="module")
def dataset():
    return dataset_of_halves()


@pytest.fixture(scope="module", params=["real-valued", "binary"])
def gallery(request, dataset):
    retriever = retriever_of_halves(hashing=request.param == "binary")
    return cmr_hub.Gallery.from_dataset(dataset, retriever, keep_real_valued=True)


def cosines(one, other):
    return (one @ other.T) / np.linalg.norm(one, axis=-1)[..., None] / np.linalg.norm(other, axis=1)


def expected_scores(query, rows, focus):
    return (1 - focus) * cosines(query[:8], rows[:, :8]) + focus * cosines(query[8:], rows[:, 8:])


def signs(embeds):
    return unpack(embeds) if embeds.dtype == np.uint8 else embeds


@pytest.mark.parametrize("focus", FOCUSES)
def test_scores_are_weighted_means_of_the_parts_cosines(gallery, focus):
    texts, images = (signs(gallery.embeds[modality]) for modality in ("text", "image"))
    for row, item in enumerate(gallery.ids[:4]):
        expected = expected_scores(texts[row], images, focus)
        hits = gallery.search(item=item, target="image", k=len(gallery), focus=focus)
        assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1], abs=1e-5)
        assert [hit.score for hit in hits] == pytest.approx([expected[hit.position] for hit in hits], abs=1e-5)


@pytest.mark.parametrize(("focus", "part"), [(0, slice(0, 8)), (1, slice(8, 16))])
def test_each_end_ranks_by_one_part_alone(gallery, focus, part):
    texts, images = (signs(gallery.embeds[modality])[:, part] for modality in ("text", "image"))
    for row, item in enumerate(gallery.ids):
        ranked = [hit.position for hit in gallery.search(item=item, k=len(gallery), focus=focus)]
        similarity = cosines(texts[row], images).round(5)
        assert (np.diff(similarity[ranked]) <= 0).all()


def test_the_nearest_by_item_climbs_with_the_focus_and_the_nearest_by_class_falls(dataset):
    """Score differences to the nearest by one part are linear in the focus, and change their sign at most once."""
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves())
    for item in gallery.ids:
        rankings = [[hit.id for hit in gallery.search(item=item, k=len(gallery), focus=focus)] for focus in FOCUSES]
        by_class, by_item = (
            [ranking.index(first[0]) for ranking in rankings] for first in (rankings[0], rankings[-1])
        )
        assert by_class == sorted(by_class)
        assert by_item == sorted(by_item, reverse=True)


def test_without_a_focus_the_checkpoints_own_counts(dataset):
    at_item = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves(focus=1.0))
    in_middle = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves())
    for item in at_item.ids[:3]:
        assert at_item.search(item=item, k=5) == in_middle.search(item=item, k=5, focus=1)
        plain = in_middle.embeds["image"] @ in_middle.embeds["text"][in_middle.position(item)]
        hits = in_middle.search(item=item, k=5)
        assert [hit.score for hit in hits] == pytest.approx(np.sort(plain)[:-6:-1], abs=1e-5)


def test_in_the_middle_codes_of_equal_halves_are_compared_by_plain_hamming_distance(dataset):
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves(hashing=True))
    query = gallery.embeds["text"][:1]
    scores, rows = gallery.indexes["image"].search(query, 10)
    hits = gallery.search(item=gallery.ids[0], k=10)
    assert [hit.position for hit in hits] == rows[0].tolist()
    assert [hit.score for hit in hits] == pytest.approx(scores[0].tolist())


def test_the_parts_of_codes_may_differ_in_length(dataset):
    retriever = retriever_of_halves(hashing=True, class_dim=5)
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever)
    texts, images = (unpack(gallery.embeds[modality]) for modality in ("text", "image"))
    expected = 0.5 * cosines(texts[0, :5], images[:, :5]) + 0.5 * cosines(texts[0, 5:], images[:, 5:])
    hits = gallery.search(item=gallery.ids[0], k=len(gallery))
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.position] for hit in hits], abs=1e-6)


@pytest.mark.parametrize("focus", FOCUSES)
def test_codes_are_reranked_by_the_parts_of_the_values_behind_them(dataset, focus):
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves(hashing=True), keep_real_valued=True)
    texts, images = (gallery.real_valued[modality] for modality in ("text", "image"))
    expected = expected_scores(texts[0], images, focus)
    hits = gallery.search(item=gallery.ids[0], k=5, rerank=len(gallery), focus=focus)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[:-6:-1], abs=1e-5)


def test_a_focus_keeps_to_classes(gallery):
    hits = gallery.search(item=gallery.ids[0], k=5, label="class 2", focus=1)
    assert len(hits) == 5
    assert {hit.labels for hit in hits} == {("class 2",)}


@pytest.mark.parametrize("index", ["exact", "kd_tree", "lsh"])
def test_indexes_of_vectors_take_a_focus_as_they_are(dataset, index):
    options = {"lsh": {"tables": 8, "bits": 3, "probes": 4}}.get(index, {})
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves(), index, index_options=options)
    texts, images = (gallery.embeds[modality] for modality in ("text", "image"))
    hit = gallery.search(item=gallery.ids[3], k=1, focus=0.25)[0]
    assert hit.score == pytest.approx(expected_scores(texts[3], images, 0.25).max(), abs=1e-5)


def test_an_index_that_compares_whole_codes_says_which_weighs_parts(dataset):
    class WholeCodes(INDEXES["hamming"]):
        name = "whole_codes"
        search_parts = Index.search_parts

    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever_of_halves(hashing=True))
    gallery.indexes["image"] = WholeCodes(gallery.embeds["image"])
    with pytest.raises(InputError, match=r"'whole_codes' compares whole codes.*use index='hamming'"):
        gallery.search(item=gallery.ids[0], focus=0)
    assert gallery.search(item=gallery.ids[0], k=3, focus=0.5)


@pytest.mark.parametrize("focus", [-0.1, 2, float("nan"), float("inf"), "a", True, [0.5]])
def test_a_focus_is_a_number_from_0_to_1(gallery, focus):
    with pytest.raises(InputError, match=r"focus must be a number from 0 .* to 1"):
        gallery.search(item=gallery.ids[0], focus=focus)
    with pytest.raises(InputError, match=r"focus must be a number from 0 .* to 1"):
        gallery.retriever.with_focus(gallery.embeds["text"], focus)


def test_a_checkpoint_of_one_part_refuses_a_focus(dataset):
    for retriever in (feature_retriever(), retriever_of_halves(class_dim=0)):
        assert retriever.class_dim is None
        assert retriever.default_focus is None
        with pytest.raises(InputError, match="one part"):
            retriever.with_focus(retriever.encode_texts([]))
    gallery = cmr_hub.Gallery.from_dataset(dataset, retriever)
    with pytest.raises(InputError, match="'halves' embeds each item as one part, and a focus weighs"):
        gallery.search(item=gallery.ids[0], focus=0.5)
    assert gallery.search(item=gallery.ids[0], k=3)


def test_queries_can_be_weighed_apart_from_a_gallery(gallery):
    queries, images = gallery.embeds["text"], as_vectors(gallery.embeds["image"])
    scores = focus_scale(0.25) * gallery.retriever.with_focus(queries, 0.25) @ images.T
    assert scores[0] == pytest.approx(
        expected_scores(signs(queries)[0], signs(gallery.embeds["image"]), 0.25), abs=1e-5
    )
    default = gallery.retriever.with_focus(queries)
    assert default == pytest.approx(gallery.retriever.with_focus(queries, 0.5))
