import pytest
import torch
from datasets import DatasetDict

from cmr_hub.encoders.sentence_cnn import SentenceCNNEncoder
from cmr_hub.encoders.sentence_transformers_models import SentenceTransformersEncoder
from cmr_hub.errors import InputError
from cmr_hub.processing.feature_store import StoredFeatures, StoredViews
from cmr_hub.training.datasets import FeatureSplits, Pairs, make_pairs, make_processor
from cmr_hub.training.splits import with_validation
from tiny_text_models import sentence_model
from toys import feature_dataset, image_dataset


def test_a_batch_is_its_items():
    pairs = Pairs(image_features=torch.arange(12.0).reshape(4, 3), labels=torch.eye(4))
    batch = pairs.__getitems__([2, 0])
    for name, rows in batch.items():
        assert torch.equal(rows, torch.stack([pairs[2][name], pairs[0][name]]))
    assert len(pairs) == 4


def test_held_out_items_depend_on_their_ids_alone():
    dataset = feature_dataset(500)
    splits = with_validation(DatasetDict(train=dataset))
    backwards = with_validation(DatasetDict(train=dataset.select(range(499, -1, -1))))
    assert set(splits["validation"]["id"]) == set(backwards["validation"]["id"])
    assert len(splits["train"]) + len(splits["validation"]) == 500
    assert 25 < len(splits["validation"]) < 80
    assert not set(splits["train"]["id"]) & set(splits["validation"]["id"])


def test_a_given_validation_split_stays():
    splits = DatasetDict(train=feature_dataset(9), validation=feature_dataset(3, seed=1))
    assert with_validation(splits) is splits


def test_released_features_need_no_width():
    dataset = feature_dataset(5)
    processor = make_processor({"image": "precomputed", "text": {"name": "precomputed"}}, dataset)
    assert (processor.image_encoder.dim, processor.text_encoder.dim) == (6, 4)
    pairs = make_pairs(dataset, processor)
    assert {name: tuple(tensor.shape) for name, tensor in pairs[:].items()} == {
        "rows": (5,),
        "items": (5,),
        "image_features": (5, 6),
        "text_features": (5, 4),
        "labels": (5, 3),
    }


def test_vocabularies_are_fitted_on_the_training_texts(tmp_path, private_cache):
    dataset = image_dataset(tmp_path)
    processor = make_processor({"image": "efficientnet-lite0", "text": "bow"}, dataset)
    assert processor.text_encoder.has_known_tokens(["red", "crimson"]) == [True, False]
    text = make_pairs(dataset, processor).texts["text_features"]
    # Two texts an item, "a red square" and "red paint": the mean of their counts.
    assert sorted(text[0].tolist()) == [0, 0, 0.5, 0.5, 0.5, 1]


def test_an_encoder_that_learns_from_classes_is_given_those_of_each_text(tmp_path, private_cache, monkeypatch):
    given = []
    fit = SentenceCNNEncoder.fit
    monkeypatch.setattr(
        SentenceCNNEncoder,
        "fit",
        lambda self, texts, labels: given.append((texts, labels)) or fit(self, texts, labels),
    )
    dataset = image_dataset(tmp_path)
    encoders = {"image": "efficientnet-lite0", "text": {"name": "sentence_cnn", "epochs": 1}}
    processor = make_processor(encoders, dataset)
    ((texts, labels),) = given
    assert texts[1:3] == ["red paint", "a green square"]
    assert labels.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]
    assert make_pairs(dataset, processor).texts["text_features"].shape == (3, 300)
    with pytest.raises(InputError, match=r"'sentence_cnn' learns from classes\. The data set has no classes"):
        make_processor(encoders, dataset.remove_columns("label"))


def test_batches_say_their_rows():
    pairs = Pairs(image_features=torch.arange(12.0).reshape(6, 2), text_features=torch.zeros(6, 1))
    batch = pairs.__getitems__([4, 1])
    assert batch["rows"].tolist() == [4, 1]
    assert batch["image_features"].tolist() == [[8, 9], [2, 3]]
    assert pairs[:]["rows"].tolist() == list(range(6))


def test_each_caption_is_a_pair_of_its_item(tmp_path, private_cache):
    dataset = image_dataset(tmp_path)
    processor = make_processor({"image": "efficientnet-lite0", "text": "bow"}, dataset)
    pairs = make_pairs(dataset, processor, "each")
    assert len(pairs) == 6
    assert pairs.caption_to_image.tolist() == [0, 0, 1, 1, 2, 2]
    batch = pairs.__getitems__([3, 0])
    assert (batch["rows"].tolist(), batch["items"].tolist()) == ([3, 0], [1, 0])
    alone = processor(images=dataset["image"][:2], text=["green paint", "a red square"])
    torch.testing.assert_close(batch["image_features"], alone["image_features"].flip(0), rtol=1e-2, atol=1e-3)
    assert torch.equal(batch["text_features"], alone["text_features"])
    assert torch.equal(batch["labels"], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_training_images_are_turned_and_no_others(tmp_path, private_cache):
    dataset = DatasetDict(train=image_dataset(tmp_path), test=image_dataset(tmp_path))
    encoders = {"image": {"name": "efficientnet-lite0", "grid": 7}, "text": "tokens"}
    splits = FeatureSplits(dataset, dataset, encoders, captions="each", augmentations=["rotate_90"])
    assert isinstance(splits["train"].images["region_features"], StoredViews)
    for pairs in (splits["test"], splits.gallery):
        assert isinstance(pairs.images["region_features"], StoredFeatures)
    assert splits["train"].__getitems__([0, 5])["region_features"].shape == (2, 49, 1280)
    with pytest.raises(InputError, match="keeps no features"):
        make_pairs(
            dataset["train"], make_processor({**encoders, "image": "pixels"}, dataset["train"]), "each", ["rotate_90"]
        )


def test_a_batch_says_which_texts_describe_which_images(tmp_path, private_cache):
    texts = [["a", "b"], ["B ", "c"], ["d"]]
    dataset = image_dataset(tmp_path).map(lambda row, i: {"texts": texts[i]}, with_indices=True)
    pairs = make_pairs(dataset, make_processor({"image": "efficientnet-lite0", "text": "bow"}, dataset), "each")
    for rows in ([0, 1, 2, 3, 4], [3, 0, 2]):
        flat = [(item, text.strip().lower()) for item, captions in enumerate(texts) for text in captions]
        known = set(flat)
        slow = [[(flat[i][0], flat[j][1]) in known for j in rows] for i in rows]
        assert pairs.__getitems__(rows)["matching"].tolist() == slow
    assert "matching" not in Pairs(text_features=torch.zeros(2, 3)).__getitems__([0, 1])


def test_released_features_have_no_captions_to_take_each():
    dataset = feature_dataset(5)
    processor = make_processor({"image": "precomputed", "text": "precomputed"}, dataset)
    with pytest.raises(InputError, match="no captions to take each"):
        make_pairs(dataset, processor, "each")


@pytest.mark.parametrize("captions", ["set", "each"])
def test_texts_of_slow_encoders_are_encoded_once(tmp_path, private_cache, monkeypatch, captions):
    dataset = image_dataset(tmp_path)
    encoders = {
        "image": {"name": "pixels", "size": 4},
        "text": f"sentence-transformers/{sentence_model(tmp_path / 'tiny')}",
    }
    first = make_pairs(dataset, make_processor(encoders, dataset), captions)
    monkeypatch.setattr(SentenceTransformersEncoder, "encode", lambda *_: pytest.fail("encoded again"))
    again = make_pairs(dataset, make_processor(encoders, dataset), captions)
    assert torch.equal(again.texts["text_features"], first.texts["text_features"])
    assert len(again) == (3 if captions == "set" else 6)


def test_regions_stay_on_disk_and_words_have_a_mask(tmp_path, private_cache):
    dataset = image_dataset(tmp_path)
    encoders = {"image": {"name": "efficientnet-lite0", "grid": 7}, "text": "tokens"}
    processor = make_processor(encoders, dataset)
    pairs = make_pairs(dataset, processor, "each")
    assert isinstance(pairs.images["region_features"], StoredFeatures)
    batch = pairs.__getitems__([4, 1, 5])
    assert batch["region_features"].shape == (3, 49, 1280)
    assert torch.equal(batch["region_features"][0], batch["region_features"][2])
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0]]  # "a blue square", "red paint" …
    with pytest.raises(InputError, match="reads one text at a time"):
        make_pairs(dataset, processor)


def test_all_images_that_cannot_be_used_are_named_at_once(tmp_path, private_cache):
    """One after another a training on a thousand photos would be started again for each of them."""
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    dataset = DatasetDict({name: image_dataset(tmp_path / name) for name in ("train", "test")})
    (tmp_path / "train" / "red.png").write_bytes((tmp_path / "train" / "red.png").read_bytes()[:60])
    features = FeatureSplits(dataset, dataset, {"image": "efficientnet-lite0", "text": "bow"})
    with pytest.raises(InputError, match=r"^image 1 of .*red\.png is truncated"):
        features["train"]
    (tmp_path / "test" / "blue.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"^2 of 6 images .*: red \(is truncated .*, blue \(is empty .*rows out"):
        features["train"]
