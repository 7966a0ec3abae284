"""Queries of an image and words, against rankings written out."""

from dataclasses import replace

import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.evaluation.combined import (
    COMBINED_PROTOCOLS,
    CombinedEmbeddings,
    CombinedProtocol,
    combined_queries,
    evaluate_combined,
)
from cmr_hub.modeling.codes import unpack

CLASS = COMBINED_PROTOCOLS["class-and-attribute"]
EVERYTHING = np.ones(12, bool)
KINDS = np.repeat(np.eye(2, dtype=bool), 6, axis=0)  # six items of each of two kinds
HAS = np.zeros((12, 2), bool)
HAS[[0, 1, 6, 7], 0] = True  # an attribute of both kinds
HAS[[2, 3], 1] = True  # one of the first kind alone


def queries_of(protocol=CLASS, measured=EVERYTHING, order=range(12)):
    return combined_queries(protocol, KINDS, HAS, order, measured)


def test_query_images_are_of_the_kind_and_lack_the_attribute():
    queries = queries_of(replace(CLASS, images=9))
    assert queries.images.tolist() == [2, 3, 4, 5, 8, 9, 10, 11]
    assert set(queries.attributes) == {0}  # the other attribute's words suffice
    assert queries.relevant[0].nonzero()[0].tolist() == [0, 1]
    assert queries.relevant[-1].nonzero()[0].tolist() == [6, 7]


def test_negated_attributes_are_turned_round():
    queries = queries_of(COMBINED_PROTOCOLS["class-without-attribute"])
    assert queries.images.tolist() == [0, 1, 6, 7]
    assert queries.relevant[0].nonzero()[0].tolist() == [2, 3, 4, 5]


def test_images_are_taken_in_the_given_order():
    queries = queries_of(replace(CLASS, images=2), order=[5, 3, 0, 2, 4, 1, *range(6, 12)])
    assert queries.images.tolist()[:2] == [5, 3]


def test_relevant_items_are_all_measured_ones():
    assert set(queries_of(measured=EVERYTHING & (np.arange(12) != 6)).images) <= set(range(6))


@pytest.mark.parametrize("changes", [{"max_share": 0.3}, {"min_relevant": 3}])
def test_no_queries_are_an_error(changes):
    with pytest.raises(InputError, match="No kind and attribute have queries by the protocol 'class-and-attribute'"):
        queries_of(replace(CLASS, **changes))


@pytest.mark.parametrize("changes", [{"images": 0}, {"at": (0,)}, {"max_share": 0}, {"max_share": 2}, {"images": 1.5}])
def test_numbers_that_make_no_protocol(changes):
    with pytest.raises(InputError, match="whole numbers from 1"):
        CombinedProtocol(name="mine", **changes)


@pytest.mark.parametrize("protocol", COMBINED_PROTOCOLS.values(), ids=list(COMBINED_PROTOCOLS))
def test_a_protocol_says_what_differs(protocol):
    described = [other.describe().partition(": ")[2] for other in COMBINED_PROTOCOLS.values()]
    assert described.count(protocol.describe().partition(": ")[2]) == 1


def embeddings(seed=0, dim=8):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(14, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return CombinedEmbeddings(images=rows[:12], words=rows[12:])


def average_precision(scores, relevant, own):
    order = [row for row in np.argsort(-scores, kind="stable") if row != own]
    ranks = [rank for rank, row in enumerate(order, 1) if relevant[row]]
    return np.mean([nth / rank for nth, rank in enumerate(ranks, 1)]), ranks[0]


@pytest.mark.parametrize("weights", [(1, 1), (1, 0), (0, 1), (1, -0.5)])
def test_figures_are_those_of_rankings_written_out(weights):
    embeds, queries = embeddings(), queries_of()
    found = []
    for image, attribute, relevant in zip(queries.images, queries.attributes, queries.relevant, strict=True):
        scores = embeds.images @ (weights[0] * embeds.images[image] + weights[1] * embeds.words[attribute])
        found.append(average_precision(scores, relevant, image))
    precision, first = np.transpose(found)
    metrics = evaluate_combined(embeds, queries, CLASS, *weights)
    assert metrics["map"] == pytest.approx(precision.mean(), abs=1e-6)
    assert metrics["recall@1"] == pytest.approx((first <= 1).mean(), abs=1e-6)
    assert metrics["recall@10"] == pytest.approx((first <= 10).mean(), abs=1e-6)


def test_codes_are_compared_by_the_signs_of_sums():
    embeds, queries = embeddings(dim=64), queries_of()
    embeds = replace(embeds, codes=np.packbits(embeds.images > 0, axis=1))
    found = []
    for image, attribute, relevant in zip(queries.images, queries.attributes, queries.relevant, strict=True):
        signs = np.sign(embeds.images[image] + embeds.words[attribute])
        found.append(average_precision(unpack(embeds.codes) @ signs, relevant, image)[0])
    # Codes of 64 bits tie now and then, and figures are expectations over the orders of ties.
    assert evaluate_combined(embeds, queries, CLASS)["map"] == pytest.approx(np.mean(found), abs=0.05)


@pytest.mark.parametrize("focus", [0.0, 0.3, 1.0])
def test_parts_are_weighed(focus):
    embeds, queries = embeddings(), queries_of()
    parts = [slice(0, 3), slice(3, 8)]
    rows = np.concatenate([embeds.images, embeds.words])
    for part in parts:
        rows[:, part] /= np.linalg.norm(rows[:, part], axis=1, keepdims=True) * np.sqrt(2)
    embeds = CombinedEmbeddings(rows[:12], rows[12:], class_dim=3, focus=focus)
    found = []
    for image, attribute, relevant in zip(queries.images, queries.attributes, queries.relevant, strict=True):
        scores = 0
        for weight, part in zip((1 - focus, focus), parts, strict=True):
            summed = rows[image, part] + rows[12 + attribute, part]
            scores = scores + weight * rows[:12, part] @ summed / np.linalg.norm(summed)
        found.append(average_precision(scores, relevant, image)[0])
    assert evaluate_combined(embeds, queries, CLASS)["map"] == pytest.approx(np.mean(found), abs=1e-6)
