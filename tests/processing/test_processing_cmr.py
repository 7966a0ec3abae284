import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

import cmr_hub
from attending import red_seeker
from closeness import assert_alike
from cmr_hub.errors import CheckpointError, InputError, UnknownArgumentError
from toys import feature_retriever, image_files, raw_retriever


@pytest.fixture(scope="module")
def raw():
    """A processor of images and strings; its network takes seconds to make."""
    return raw_retriever().processor


@pytest.fixture(scope="module")
def processor(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processor")
    raw.save_pretrained(folder)
    return AutoProcessor.from_pretrained(folder)


def test_texts_of_one_thing_are_averaged(raw):
    features = raw(text=["red", "green green", ["red", "green green"]])["text_features"]
    torch.testing.assert_close(features[2], (features[0] + features[1]) / 2)


def test_released_features_pass_through():
    rows = torch.arange(12.0).reshape(2, 6)
    assert torch.equal(feature_retriever().processor(images=rows.numpy())["image_features"], rows)


def test_round_trip(raw, tmp_path):
    written = raw.save_pretrained(tmp_path)
    assert sorted(written) == sorted(str(path) for path in tmp_path.iterdir())
    loaded = cmr_hub.CMRProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == raw.to_dict()
    found, expected = (each(text=["red blue"])["text_features"] for each in (loaded, raw))
    assert_alike(found, expected)


def test_cached_features_are_the_same(raw, tmp_path, private_cache):
    paths = image_files(tmp_path)
    plain = raw(images=paths)["image_features"]
    cached = raw(images=paths, cache=True)["image_features"]
    torch.testing.assert_close(cached, plain, rtol=1e-3, atol=1e-3)
    assert len(list(private_cache.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("text", [3, [["red"], []], ["red", 3]])
def test_texts_that_are_none(raw, text):
    with pytest.raises(InputError):
        raw(text=text)


def test_one_bad_image_is_named(raw, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    images = [Image.new("RGB", (8, 8)), tmp_path / "broken.png"]
    with pytest.raises(InputError, match="2 of 2"):
        raw(images=images)


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"image_encoder": 3, "text_encoder": {}})])
def test_damaged_configuration(tmp_path, content):
    (tmp_path / "processor_config.json").write_text(content)
    with pytest.raises(CheckpointError):
        cmr_hub.CMRProcessor.from_pretrained(tmp_path)


def test_it_is_published_with_its_model(raw, tmp_path):
    with pytest.raises(InputError, match=r"Retriever\.push_to_hub"):
        raw.save_pretrained(tmp_path, push_to_hub=True)


class TestTheCallThatPeopleAreUsedTo:
    """As that of `CLIPProcessor`."""

    def test_a_single_input_is_a_batch_of_one(self, processor, tmp_path):
        path = image_files(tmp_path)[0]
        image = Image.open(path)
        inputs = processor(text="red red", images=image, return_tensors="pt")
        assert_alike(inputs["text_features"], processor(text=["red red"])["text_features"])
        expected = processor(images=[image])["image_features"]
        for single in (image, path, tmp_path / "red.png", (tmp_path / "red.png").read_bytes(), np.asarray(image)):
            assert_alike(processor(images=single)["image_features"], expected)

    def test_a_single_row_of_released_features(self):
        row = np.arange(6.0)
        for single in (row, torch.from_numpy(row)):
            features = feature_retriever().processor(images=single)["image_features"]
            assert torch.equal(features, torch.from_numpy(row[None]).float())

    def test_arrays_and_generators_of_strings_are_lists(self, processor):
        expected = processor(text=["red", "green"])["text_features"]
        for texts in (np.array(["red", "green"]), (text for text in ("red", "green")), ("red", "green")):
            assert_alike(processor(text=texts)["text_features"], expected)

    def test_the_model_takes_what_it_returns(self):
        retriever = feature_retriever()
        inputs = retriever.processor(images=np.ones((2, 6)), text=np.ones((2, 4)), return_tensors="pt")
        assert retriever.model(**inputs).text_embeds.shape == (2, 5)

    @pytest.mark.parametrize("options", [{"return_tensors": "np"}, {"common_kwargs": {"return_tensors": "np"}}])
    def test_arrays(self, processor, options):
        given, expected = (processor(text=["red", "green"], **each)["text_features"] for each in (options, {}))
        assert isinstance(given, np.ndarray)
        assert given.dtype == np.float32
        np.testing.assert_array_equal(given, expected.numpy())

    def test_arrays_of_words(self):
        inputs = red_seeker().processor(text="a red square", return_tensors="np", padding="max_length", max_length=77)
        assert inputs["input_ids"].dtype == np.int64
        assert inputs["attention_mask"].tolist() == [[1, 1, 1]]

    @pytest.mark.parametrize(
        "options",
        [{"padding": True, "truncation": True, "max_length": 1}, {"text_kwargs": {"padding": True}}, {"audio": None}],
        ids=str,
    )
    def test_options_of_tokenizers_change_nothing(self, processor, options):
        texts = ["red green blue", "red"]
        assert_alike(processor(text=texts, **options)["text_features"], processor(text=texts)["text_features"])

    @pytest.mark.parametrize("tensors", ["tf", "jax", "mlx", "list"])
    def test_other_tensors_are_refused(self, processor, tensors):
        with pytest.raises(InputError, match=f"return_tensors is {tensors!r}: give 'pt'"):
            processor(text="red", return_tensors=tensors)

    @pytest.mark.parametrize("options", [{"texts": "red"}, {"text": "red", "images_kwargs": {"do_rescale": False}}])
    def test_an_unknown_option_is_named(self, processor, options):
        with pytest.raises(UnknownArgumentError, match=r"takes no argument '(texts|do_rescale)'.* It takes: images"):
            processor(**options)

    def test_nothing_to_encode(self, processor):
        with pytest.raises(InputError, match="Neither images nor texts"):
            processor()
