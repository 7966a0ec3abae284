"""What queries score by chance, against all pairs of a gallery, and least scores of searches."""

import numpy as np
import pytest
from datasets import Dataset

from cmr_hub import Gallery
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import InputError
from cmr_hub.modeling.codes import unpack
from cmr_hub.retrieval.chance_scores import ordinary_texts
from toys import feature_dataset, feature_retriever, image_dataset, raw_retriever
from two_parts import dataset_of_halves, retriever_of_halves


@pytest.fixture(scope="module")
def gallery():
    return Gallery.from_dataset(feature_dataset(), feature_retriever("cca"))


def others(scores, gallery):
    """The scores of items of different classes."""
    label = np.array(gallery.dataset["label"][:])
    return scores[label[:, None] != label]


@pytest.mark.parametrize(("target", "source"), [("image", "text"), ("text", "image"), ("image", "image")])
@pytest.mark.parametrize("quantile", [0.5, 0.99])
def test_it_is_a_quantile_of_the_pairs_that_do_not_belong_together(gallery, target, source, quantile):
    expected = np.quantile(others(gallery.embeds[source] @ gallery.embeds[target].T, gallery), quantile)
    assert gallery.suggest_min_score(target, source=source, quantile=quantile) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("column", ["label", None])
def test_without_different_classes_all_pairs_of_different_items_count(gallery, column):
    dataset = gallery.dataset.filter(lambda row: row["label"] == 1)
    rows = [gallery.position(item) for item in dataset["id"]]
    dataset = dataset if column else dataset.remove_columns("label")
    alike = Gallery(dataset, gallery.retriever, gallery.embeds["image"][rows], gallery.embeds["text"][rows])
    scores = alike.embeds["image"] @ alike.embeds["text"].T
    expected = np.quantile(scores[~np.eye(len(rows), dtype=bool)], 0.99)
    assert alike.suggest_min_score() == pytest.approx(expected, abs=1e-5)


def test_by_default_the_other_modality_asks(gallery):
    for target, source in (("image", "text"), ("text", "image")):
        assert gallery.suggest_min_score(target) == gallery.suggest_min_score(target, source=source)


@pytest.mark.parametrize("focus", [0, 0.25, 1])
def test_parts_are_weighed_as_in_searches(focus):
    gallery = Gallery.from_dataset(dataset_of_halves(), retriever_of_halves())
    scores = 0
    for weight, part in ((1 - focus, slice(0, 8)), (focus, slice(8, 16))):
        texts, images = (gallery.embeds[modality][:, part] for modality in ("text", "image"))
        scores = scores + weight * 2 * (texts @ images.T)
    assert gallery.suggest_min_score(focus=focus) == pytest.approx(
        np.quantile(others(scores, gallery), 0.99), abs=1e-5
    )


def test_codes_score_by_their_bits():
    gallery = Gallery.from_dataset(feature_dataset(), feature_retriever("sh"))
    scores = unpack(gallery.embeds["text"]) @ unpack(gallery.embeds["image"]).T / 16
    assert gallery.suggest_min_score(quantile=0.9) == pytest.approx(
        np.quantile(others(scores, gallery), 0.9), abs=1e-6
    )


def test_hits_below_the_least_score_are_left_out(gallery):
    hits = gallery.search(item="item-3", k=60)
    least = hits[20].score
    above = gallery.search(item="item-3", k=60, min_score=least)
    assert above == hits[:21]
    assert gallery.search(item="item-3", k=5, min_score=least) == hits[:5]
    assert gallery.search(item="item-3", k=5, min_score=1) == []
    assert [len(found) for found in gallery.search(item=["item-3", "item-4"], k=60, min_score=-1)] == [60, 60]


def test_a_score_that_floats_have_no_number_for_is_met(gallery):
    score = np.float32(gallery.search(item="item-3", k=1)[0].score)
    assert gallery.search(item="item-3", k=1, min_score=round(float(score), 9)) == gallery.search(item="item-3", k=1)


def test_auto_is_what_the_gallery_suggests_for_such_a_query(gallery):
    least = gallery.suggest_min_score()
    for item in gallery.ids[:5]:
        plain = [hit for hit in gallery.search(item=item, k=60) if hit.score >= least]
        assert gallery.search(item=item, k=60, min_score="auto") == plain
    same_side = gallery.search(item="item-3", source="image", k=60, min_score="auto")
    assert all(hit.score >= gallery.suggest_min_score(source="image") - 1e-6 for hit in same_side)


@pytest.mark.parametrize("method", ["cca", "sh"])
def test_of_combined_queries_about_a_hundredth_is_found_by_chance(method):
    """Queries of two random items find about as many others as the quantile says."""
    dataset = feature_dataset(300).remove_columns("label")
    gallery = Gallery.from_dataset(dataset, feature_retriever(method), keep_real_valued=True)
    random = np.random.default_rng(0)
    found = []
    for _ in range(60):
        first, second = random.choice(gallery.ids, 2, replace=False)
        hits = gallery.search(item={first: 1, second: -0.5}, source="text", k=300, min_score="auto")
        found.append(len({hit.id for hit in hits} - {first, second}) / 298)
    assert 0.001 < np.mean(found) < 0.04


def test_reranked_scores_count(gallery):
    hasher = Gallery.from_dataset(feature_dataset(), feature_retriever("sh"), keep_real_valued=True)
    hits = hasher.search(item="item-3", k=60, rerank=60)
    assert hasher.search(item="item-3", k=60, rerank=60, min_score=hits[9].score) == hits[:10]


def test_ordinary_texts_ask_of_images_alone(tmp_path):
    retriever = raw_retriever()
    retriever.processor.text_encoder = create_encoder("text", "bow").fit(["red green blue"])
    dataset = image_dataset(tmp_path).select_columns(["id", "image"])
    gallery = Gallery.from_dataset(dataset, retriever, cache=False)
    with pytest.raises(InputError, match=r"'bow' knows \d+ of 219 ordinary texts, too few"):
        gallery.suggest_min_score()

    class Known(type(retriever.processor.text_encoder)):
        def has_known_tokens(self, texts):
            return [True] * len(texts)

    retriever.processor.text_encoder.__class__ = Known
    scores = gallery.embeds["image"] @ retriever.encode_texts(ordinary_texts()).T
    assert gallery.suggest_min_score() == pytest.approx(np.quantile(scores, 0.99), abs=1e-5)


def test_ordinary_texts_are_different_and_short():
    assert len(set(ordinary_texts())) == len(ordinary_texts()) > 200
    assert all(0 < len(text) < 50 and text == text.strip() for text in ordinary_texts())


@pytest.mark.parametrize("least", [float("nan"), 2, -1.5, "0.5", True, [0.5]])
def test_what_is_no_score(gallery, least):
    with pytest.raises(InputError, match="min_score must be a number from -1 to 1, as scores are, or 'auto'"):
        gallery.search(item="item-3", min_score=least)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantile": 1}, "quantile must be a number above 0 and below 1"),
        ({"quantile": float("nan")}, "not nan"),
        ({"focus": 0.5}, "embeds each item as one part"),
        ({"target": "sound"}, "target is 'image' or 'text', not 'sound'"),
        ({"source": "sound"}, "source is 'image' or 'text', not 'sound'"),
    ],
)
def test_what_cannot_be_suggested(gallery, given, message):
    with pytest.raises(InputError, match=message):
        gallery.suggest_min_score(**given)


def test_nothing_is_suggested_without_pairs():
    retriever = feature_retriever("cca")
    one = Gallery.from_dataset(feature_dataset(1), retriever)
    with pytest.raises(InputError, match="gallery of one item"):
        one.suggest_min_score()
    texts = Gallery(Dataset.from_dict({"id": ["a", "b"]}), retriever, None, np.eye(2, 3, dtype=np.float32))
    with pytest.raises(InputError, match="have no images, so that it is not known"):
        texts.suggest_min_score("text", source="image")
    images = Gallery(Dataset.from_dict({"id": ["a", "b"]}), retriever, np.eye(2, 3, dtype=np.float32), None)
    with pytest.raises(InputError, match="have no texts, so that it is not known"):
        images.suggest_min_score()
