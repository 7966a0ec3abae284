"""Protocols with a focus: measured by the parts of queries, and refused where there are none."""

import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.evaluation import evaluate, evaluate_embeddings, get_protocol
from cmr_hub.modeling.codes import unpack
from toys import feature_retriever
from two_parts import dataset_of_halves, retriever_of_halves

FOCUSES = [0, 0.25, 0.5, 0.75, 1]


@pytest.fixture(scope="module")
def dataset():
    return dataset_of_halves()


def part(embeds, columns):
    """Real-valued rows of one part alone, of unit length; of codes their bits, packed again."""
    if embeds.dtype == np.uint8:
        return np.packbits(unpack(embeds)[:, columns] > 0, axis=1)
    return embeds[:, columns]


@pytest.mark.parametrize("hashing", [False, True])
@pytest.mark.parametrize(("focus", "columns"), [(0, slice(0, 8)), (1, slice(8, 16))])
@pytest.mark.parametrize("name", ["dscmr", "dscmr-tie-aware", "instance-tie-aware"])
def test_the_ends_measure_one_part_alone(dataset, hashing, focus, columns, name):
    retriever = retriever_of_halves(hashing=hashing)
    images = retriever.encode_images(np.array(dataset["image_features"], np.float32))
    texts = retriever.encode_texts(np.array(dataset["text_features"], np.float32))
    alone = evaluate_embeddings(
        part(images, columns), part(texts, columns), np.array(dataset["label"]), protocol=name
    ).metrics
    measured = evaluate(retriever, dataset, get_protocol(name, focus=focus)).metrics
    assert measured == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("hashing", [False, True])
def test_the_middle_measures_embeddings_as_they_are(dataset, hashing):
    retriever = retriever_of_halves(hashing=hashing)
    for name in ("dscmr-tie-aware", "instance-tie-aware"):
        plain = evaluate(retriever, dataset, name).metrics
        assert evaluate(retriever, dataset, get_protocol(name, focus=0.5)).metrics == pytest.approx(plain, abs=1e-6)


def cosine(one, other):
    return one @ other / np.sqrt((one @ one) * (other @ other))


def slow_mean_average_precision(queries, gallery, focus, relevant):
    """By sorting everything; equal scores in the order of the gallery."""
    found = []
    for query, is_relevant in zip(queries, relevant, strict=True):
        scores = [(1 - focus) * cosine(query[:8], row[:8]) + focus * cosine(query[8:], row[8:]) for row in gallery]
        hits = is_relevant[np.argsort(-np.round(scores, 6), kind="stable")]
        found.append((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean())
    return np.mean(found)


@pytest.mark.parametrize("focus", FOCUSES)
@pytest.mark.parametrize("hashing", [False, True])
def test_queries_of_both_directions_are_weighed_against_a_gallery_as_it_is(dataset, hashing, focus):
    retriever, train = retriever_of_halves(hashing=hashing), dataset_of_halves(seed=1)
    found = evaluate(retriever, dataset, get_protocol("dcmh", focus=focus), train).metrics
    relevant = np.array(dataset["label"])[:, None] == np.array(train["label"])
    for direction in ("image_to_text", "text_to_image"):
        source, target = direction.split("_to_")
        queries, gallery = np.array(dataset[f"{source}_features"]), np.array(train[f"{target}_features"])
        if hashing:
            queries, gallery = (np.where(rows > 0, 1.0, -1.0) for rows in (queries, gallery))
        expected = slow_mean_average_precision(queries, gallery, focus, relevant)
        assert found[f"{direction}/map"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("focus", [0, 0.25, 1])
def test_reranking_weighs_the_values_behind_codes(dataset, focus):
    """With all of them put in order, the codes have no say."""
    retriever = retriever_of_halves(hashing=True)
    reranked = get_protocol("dscmr-reranked", focus=focus, rerank=len(dataset), ties="order")
    by_values = evaluate(retriever_of_halves(), dataset, get_protocol("dscmr", focus=focus)).metrics
    assert evaluate(retriever, dataset, reranked).metrics == pytest.approx(by_values, abs=1e-6)


def test_a_class_part_finds_classes_and_an_item_part_items(dataset):
    retriever = retriever_of_halves()
    protocols = {"dscmr": {}, "instance": {"at": (1,)}}
    by_class, by_item = (
        {
            name: evaluate(retriever, dataset, get_protocol(name, focus=focus, **changes)).metrics
            for name, changes in protocols.items()
        }
        for focus in (0, 1)
    )
    assert by_class["dscmr"]["map"] > by_item["dscmr"]["map"] + 0.2
    assert by_item["instance"]["recall@1"] > by_class["instance"]["recall@1"] + 0.2


def test_curves_with_a_focus_are_of_the_ranking_alone(dataset):
    protocol = get_protocol("dscmr", focus=0)
    curves = evaluate(retriever_of_halves(hashing=True), dataset, protocol, curves=True).curves
    assert set(curves["image_to_text"]) == {"recall", "precision"}


@pytest.mark.parametrize("retriever", [feature_retriever(), retriever_of_halves(class_dim=0)], ids=repr)
def test_embeddings_of_one_part_refuse_a_focus(retriever):
    embeds = retriever.encode_texts(np.ones((6, retriever.model.config.text_dim), np.float32))
    with pytest.raises(InputError, match=r"'dscmr\(focus=0\)' has a focus, .* these embeddings have one part"):
        evaluate_embeddings(embeds, embeds, np.arange(6), protocol="dscmr(focus=0)", class_dim=retriever.class_dim)


@pytest.mark.parametrize("class_dim", [0, 16, 20])
def test_each_part_has_a_dimension_at_least(class_dim):
    embeds = np.eye(16, dtype=np.float32)
    with pytest.raises(InputError, match=f"class_dim is {class_dim}: of 16 dimensions"):
        evaluate_embeddings(embeds, embeds, np.arange(16), protocol="dscmr(focus=0)", class_dim=class_dim)
