import torch
from datasets import DatasetDict
from toys import feature_dataset, picture_dataset

from training.pairs import Pairs, make_pairs, make_processor, with_validation


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
    assert {name: tuple(tensor.shape) for name, tensor in pairs.tensors.items()} == {
        "image_features": (5, 6),
        "text_features": (5, 4),
        "labels": (5, 3),
    }


def test_vocabularies_are_fitted_on_the_training_texts(tmp_path, private_cache):
    dataset = picture_dataset(tmp_path)
    processor = make_processor({"image": "efficientnet-lite0", "text": "bow"}, dataset)
    assert processor.text_encoder.knows(["red", "crimson"]) == [True, False]
    text = make_pairs(dataset, processor).tensors["text_features"]
    # Two texts an item, "a red square" and "red paint": the mean of their counts.
    assert sorted(text[0].tolist()) == [0, 0, 0.5, 0.5, 0.5, 1]


def test_batches_say_their_rows():
    pairs = Pairs(image_features=torch.arange(12.0).reshape(6, 2), text_features=torch.zeros(6, 1))
    batch = pairs.__getitems__([4, 1])
    assert batch["rows"].tolist() == [4, 1]
    assert batch["image_features"].tolist() == [[8, 9], [2, 3]]
    assert pairs[:]["rows"].tolist() == list(range(6))
    assert "rows" not in pairs.tensors
