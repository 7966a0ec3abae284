import json

import pytest
import torch
from PIL import Image

import cmr_hub
from closeness import assert_alike
from cmr_hub.errors import CheckpointError, InputError
from toys import feature_retriever, image_files, raw_retriever


def test_texts_of_one_thing_are_averaged():
    processor = raw_retriever().processor
    features = processor(text=["red", "green green", ["red", "green green"]])["text_features"]
    torch.testing.assert_close(features[2], (features[0] + features[1]) / 2)


def test_released_features_pass_through():
    rows = torch.arange(12.0).reshape(2, 6)
    assert torch.equal(feature_retriever().processor(images=rows.numpy())["image_features"], rows)


def test_round_trip(tmp_path):
    processor = raw_retriever().processor
    written = processor.save_pretrained(tmp_path)
    assert sorted(written) == sorted(str(path) for path in tmp_path.iterdir())
    loaded = cmr_hub.CMRProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    found, expected = (each(text=["red blue"])["text_features"] for each in (loaded, processor))
    assert_alike(found, expected)


def test_cached_features_are_the_same(tmp_path, private_cache):
    processor, paths = raw_retriever().processor, image_files(tmp_path)
    plain = processor(images=paths)["image_features"]
    cached = processor(images=paths, cache=True)["image_features"]
    torch.testing.assert_close(cached, plain, rtol=1e-3, atol=1e-3)
    assert len(list(private_cache.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("text", ["one string", [["red"], []], ["red", 3]])
def test_texts_that_are_none(text):
    with pytest.raises(InputError):
        raw_retriever().processor(text=text)


def test_one_bad_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    images = [Image.new("RGB", (8, 8)), tmp_path / "broken.png"]
    with pytest.raises(InputError, match="2 of 2"):
        raw_retriever().processor(images=images)


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"image_encoder": 3, "text_encoder": {}})])
def test_damaged_configuration(tmp_path, content):
    (tmp_path / "processor_config.json").write_text(content)
    with pytest.raises(CheckpointError):
        cmr_hub.CMRProcessor.from_pretrained(tmp_path)


def test_it_is_published_with_its_model(tmp_path):
    with pytest.raises(InputError, match=r"Retriever\.push_to_hub"):
        raw_retriever().processor.save_pretrained(tmp_path, push_to_hub=True)
