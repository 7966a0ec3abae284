from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from cmr_hub.modeling.codes import unpack
from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.services.average_precision import average_precision_of, average_precisions
from toys import feature_retriever

ITEMS = 40
CLASSES = ["a", "b", "c", "alone"]


def labelled(labels: list[int] | list[list[int]], several: bool) -> Dataset:
    ids = [f"item {row}" for row in range(len(labels))]
    name, feature = ("labels", List(ClassLabel(names=CLASSES))) if several else ("label", ClassLabel(names=CLASSES))
    return Dataset.from_dict({"id": ids, name: labels}, features=Features({"id": Value("string"), name: feature}))


def make_gallery(kind: str, **options: object) -> Gallery:
    """Forty items of chance embeddings, codes with many ties; the last is alone in its class."""
    chance = np.random.default_rng(0)
    labels = [*chance.integers(3, size=ITEMS - 1).tolist(), 3]
    if kind == "several classes":
        labels = [sorted({label, int(chance.integers(3))}) for label in labels[:-2]] + [[], [3]]
    retriever = feature_retriever("sh" if kind == "codes" else "cca")
    width = retriever.encode_texts(np.zeros((1, retriever.model.config.text_dim), np.float32)).shape[1]
    if kind == "codes":
        modalities = [chance.integers(4, size=(ITEMS, width), dtype=np.uint8) for _ in range(2)]
    else:
        modalities = [chance.standard_normal((ITEMS, width), np.float32) for _ in range(2)]
        modalities = [modality / np.linalg.norm(modality, axis=1, keepdims=True) for modality in modalities]
    return Gallery(labelled(labels, kind == "several classes"), retriever, *modalities, **options)


def slow_average_precision(gallery: Gallery, position: int, source: str, target: str) -> float | None:
    """Rank everything by cosine, ties in gallery order, and walk down the ranking."""
    query, rows = gallery.embeds[source][position], gallery.embeds[target]
    if rows.dtype == np.uint8:
        query, rows = unpack(query[None])[0], unpack(rows)
    others = [row for row in range(len(gallery)) if source != target or row != position]
    others.sort(key=lambda row: -round(float(rows[row] @ query), 5))
    right, precisions = 0, []
    for rank, row in enumerate(others, 1):
        if set(gallery.labels(position)) & set(gallery.labels(row)):
            right += 1
            precisions.append(right / rank)
    return sum(precisions) / len(precisions) if precisions else None


@pytest.fixture(scope="module", params=["real-valued", "codes", "several classes"])
def gallery(request: pytest.FixtureRequest) -> Gallery:
    return make_gallery(request.param)


@pytest.mark.parametrize("source", ["image", "text"])
@pytest.mark.parametrize("target", ["image", "text"])
def test_agrees_with_walking_down_the_ranking(gallery: Gallery, source: str, target: str):
    wanted = [slow_average_precision(gallery, row, source, target) for row in range(ITEMS)]
    assert len({value for value in wanted if value}) > 10
    assert [average_precision_of(gallery, item, source, target) for item in gallery.ids] == pytest.approx(wanted)
    batch = average_precisions(gallery, range(ITEMS), source, target)
    np.testing.assert_allclose(batch, [math.nan if value is None else value for value in wanted])


def test_positions_may_come_in_any_order(gallery: Gallery):
    batch = average_precisions(gallery, [7, 3, 7], "text", "image")
    alone = [average_precision_of(gallery, f"item {row}", "text", "image") for row in (7, 3, 7)]
    assert batch.tolist() == pytest.approx(alone, abs=1e-3)
    assert average_precisions(gallery, [], "text", "image").shape == (0,)


def test_agrees_with_the_whole_ranking_that_a_search_shows(gallery: Gallery):
    """Hits and the figure above them are of one order, equal scores included."""
    marks = [hit.same_class for hit in gallery.search(item="item 5", target="image", k=ITEMS)]
    precisions = [sum(marks[:rank]) / rank for rank, mark in enumerate(marks, 1) if mark]
    assert average_precision_of(gallery, "item 5", "text", "image") == pytest.approx(np.mean(precisions))


def test_who_is_alone_in_a_class_can_find_nobody_but_itself(gallery: Gallery):
    assert average_precision_of(gallery, f"item {ITEMS - 1}", "image", "image") is None
    assert average_precision_of(gallery, f"item {ITEMS - 1}", "text", "image") > 0


def test_items_without_classes_have_none(gallery: Gallery):
    bare = Gallery(gallery.dataset.select_columns("id"), gallery.retriever, *gallery.embeds.values())
    assert average_precision_of(bare, "item 0", "text", "image") is None


def test_what_an_approximate_index_misses_counts_all_the_same():
    exact = make_gallery("real-valued")
    approximate = make_gallery("real-valued", index="lsh", index_options={"tables": 1, "probes": 1})
    assert len(approximate.search(item="item 0", target="image", k=ITEMS)) < ITEMS
    for row in range(5):
        assert average_precision_of(approximate, f"item {row}", "text", "image") == average_precision_of(
            exact, f"item {row}", "text", "image"
        )
