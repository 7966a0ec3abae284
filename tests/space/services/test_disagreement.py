from __future__ import annotations

import time

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.services.average_precision import average_precision_of
from cmr_hub.space.services.disagreement import most_disputed
from small_space import bundled_catalogue
from toys import feature_retriever

ITEMS = 30


def make_gallery(seed: int, ids: list[str] | None = None, has_classes: bool = True) -> Gallery:
    ids = ids or [f"item {row}" for row in range(ITEMS)]
    features = {"id": Value("string")} | ({"label": ClassLabel(names=["a", "b", "c"])} if has_classes else {})
    rows = {"id": ids} | ({"label": [len(item) * int(item[-1]) % 3 for item in ids]} if has_classes else {})
    chance = np.random.default_rng(seed)
    modalities = [chance.standard_normal((len(ids), 3), np.float32) for _ in range(2)]
    modalities = [modality / np.linalg.norm(modality, axis=1, keepdims=True) for modality in modalities]
    return Gallery(Dataset.from_dict(rows, features=Features(features)), feature_retriever("cca"), *modalities)


@pytest.mark.parametrize(("source", "target"), [("text", "image"), ("image", "image")])
def test_first_come_those_with_the_largest_spread(source: str, target: str):
    galleries = [make_gallery(seed) for seed in range(3)]
    spread = {}
    for item in galleries[0].ids:
        precisions = [average_precision_of(gallery, item, source, target) for gallery in galleries]
        spread[item] = max(precisions) - min(precisions)
    found = most_disputed(galleries, source, target, most=10)
    assert found == sorted(spread, key=lambda item: -spread[item])[:10]


def test_the_sample_is_the_same_whatever_the_order_of_the_items():
    ids = [f"item {row}" for row in range(ITEMS)]
    found = [most_disputed([make_gallery(0, order), make_gallery(1, order)], "text", "image", sample=8, most=8)
             for order in (ids, ids[::-1])]  # fmt: skip
    assert len(found[0]) == 8
    assert set(found[0]) == set(found[1])


def test_items_that_one_gallery_lacks_are_left_out():
    galleries = [make_gallery(0), make_gallery(1, [f"item {row}" for row in range(5, ITEMS)])]
    found = most_disputed(galleries, "text", "image", most=ITEMS)
    assert {int(item.split()[1]) for item in found} == set(range(5, ITEMS))


def test_nothing_is_disputed_among_the_like_or_without_classes():
    assert most_disputed([make_gallery(0), make_gallery(0)], "text", "image") == []
    assert (
        most_disputed([make_gallery(0, has_classes=False), make_gallery(1, has_classes=False)], "text", "image") == []
    )


@pytest.mark.slow
def test_it_is_quick_on_the_bundled_emoji():
    catalogue = bundled_catalogue(["emoji"])
    galleries = [catalogue.open("emoji", method) for method in ("dscmr", "contrastive", "dscmr_hash", "cca")]
    started = time.perf_counter()
    found = most_disputed(galleries, "text", "image")
    assert time.perf_counter() - started < 1
    precisions = [average_precision_of(gallery, found[0], "text", "image") for gallery in galleries]
    assert max(precisions) - min(precisions) > 0.5
