import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from PIL import Image

import cmr_hub
from closeness import assert_alike, assert_signs
from cmr_hub.encoders import create_encoder
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.modeling.codes import unpack
from toys import feature_retriever, image_files, raw_retriever


@pytest.fixture(scope="module")
def raw():
    return raw_retriever()


def test_rows_are_unit_float32_in_order(raw, tmp_path):
    paths = image_files(tmp_path)
    embeds = raw.encode_images(paths)
    assert embeds.dtype == np.float32
    assert embeds.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(raw.encode_images(paths[::-1]), embeds[::-1], atol=1e-5)


def test_batches_change_nothing(raw):
    texts = ["red", "green red", "blue", "blue blue red", ["red", "blue"]]
    np.testing.assert_allclose(raw.encode_texts(texts, batch_size=2), raw.encode_texts(texts), atol=1e-6)


def test_paths_images_and_arrays_are_the_same_image(raw, tmp_path):
    path = image_files(tmp_path)[0]
    image = Image.open(path)
    embeds = raw.encode_images([path, image, np.asarray(image)])
    np.testing.assert_allclose(embeds, embeds[[0, 0, 0]], atol=1e-6)


def test_nothing_gives_nothing(raw):
    assert raw.encode_images([]).shape == raw.encode_texts([]).shape == (0, 3)


def test_texts_without_a_known_word(raw):
    texts = ["red", "", "   ", "фиолетовый", "🙂", "x" * 1_000_000]
    assert raw.has_known_tokens(texts) == [True, False, False, False, False, False]
    embeds = raw.encode_texts(texts)
    assert np.isfinite(embeds).all()
    assert_alike(embeds[1:], embeds[[1]].repeat(5, axis=0))


@pytest.mark.parametrize(
    ("method", "one"),
    [
        ("encode_images", "red.png"),
        ("encode_images", b"bytes"),
        ("encode_images", Image.new("RGB", (200, 200))),
        ("encode_images", np.zeros((200, 200, 3), np.uint8)),
        ("encode_images", 5),
        ("encode_texts", "red"),
        ("encode_texts", np.array("red")),
    ],
)
def test_a_single_input_is_no_list(raw, method, one):
    """An array of pixels was cut into batches of rows."""
    with pytest.raises(InputError, match=r"come as a list: give \[(image|text)\] for a single one, not a "):
        getattr(raw, method)(one)


@pytest.mark.parametrize(
    "as_several", [tuple, iter, np.array, pd.Series, lambda texts: Dataset.from_dict({"t": texts})["t"]]
)
def test_whatever_holds_several(raw, as_several, tmp_path):
    texts, paths = ["red", "blue red", "green"], image_files(tmp_path)
    assert_alike(raw.encode_texts(as_several(texts)), raw.encode_texts(texts))
    assert_alike(raw.encode_images(as_several(paths)), raw.encode_images(paths))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], "text 2 of 2: it is of type NoneType"),
        (["a", float("nan")], "text 2 of 2: it is of type float"),
        ([b"a"], "text 1 of 1: it is of type bytes"),
        (["a", ["b", 3]], "text 2 of 2: it is of type int"),
        (["a", []], "text 2 of 2: it is an empty list"),
        (["a", "cut \ud83d"], "text 2 of 2: it is not valid Unicode"),
        ({"a", "b"}, "come as a list, in order, and not as a set"),
        ({"a": "b"}, "come as a list, in order, and not as a dict"),
    ],
)
def test_what_is_no_text_is_named(raw, texts, message):
    with pytest.raises(InputError, match=message):
        raw.encode_texts(texts)


def test_columns_of_pandas_go_by_their_order(raw):
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(["a cat", "a dog", "a red apple"], index=[2, 0, 1])
    assert_alike(raw.encode_texts(column), raw.encode_texts(list(column)))
    image = Image.new("RGB", (9, 9), "red")
    assert_alike(raw.encode_images(pandas.Series([image], index=[7])), raw.encode_images([image]))


@pytest.mark.parametrize("cache", [False, True])
def test_an_item_without_an_image_is_named(raw, cache, private_cache):
    for nothing in (None, {"path": None, "bytes": None}):
        with pytest.raises(InputError, match="image 2 of 2: "):
            raw.encode_images([Image.new("RGB", (9, 9)), nothing], cache=cache)


def test_a_bad_image_in_a_later_batch_is_named(raw, tmp_path):
    paths = image_files(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"(?s)2 of 2.*batch that starts at 2"):
        raw.encode_images([*paths, str(tmp_path / "empty.png")], batch_size=2)


def test_released_features_are_checked():
    retriever = feature_retriever()
    assert retriever.encode_images(np.ones((2, 6))).shape == (2, 5)
    with pytest.raises(InputError, match=r"row 2 of 2 .* NaN"):
        retriever.encode_images(np.array([[1.0] * 6, [1.0] * 5 + [np.nan]]))
    with pytest.raises(InputError, match=r"\(n, 6\)"):
        retriever.encode_images(np.ones((2, 7)))
    with pytest.raises(InputError, match="come as a list"):
        retriever.encode_images(np.ones(6))


@pytest.mark.parametrize(
    ("method", "given"), [("encode_images", [Image.new("RGB", (8, 8))]), ("encode_texts", ["red"])]
)
def test_a_raw_input_to_released_features_names_checkpoints_that_take_one(method, given):
    with pytest.raises(InputError, match=r"takes released .* Checkpoints that take a raw .*cmr/dscmr-emoji"):
        getattr(feature_retriever(), method)(given)


def test_processor_and_model_must_fit():
    other = cmr_hub.CMRProcessor(
        create_encoder("image", "precomputed", dim=7), create_encoder("text", "precomputed", dim=4)
    )
    with pytest.raises(CheckpointError, match="width 6, its processor gives 7"):
        cmr_hub.Retriever(feature_retriever().model, other)


@pytest.mark.parametrize("method", ["dscmr", "cca"])
def test_round_trip_embeds_the_same(tmp_path, method):
    retriever = feature_retriever(method)
    retriever.save_pretrained(tmp_path)
    loaded = cmr_hub.from_pretrained(tmp_path)
    rows = np.random.default_rng(0).normal(size=(4, 6))
    assert_alike(loaded.encode_images(rows), retriever.encode_images(rows))
    assert loaded.fingerprint == retriever.fingerprint != feature_retriever(method, seed=1).fingerprint


def test_pushing_needs_a_folder_with_a_card(tmp_path):
    with pytest.raises(CheckpointError, match="cmr publish"):
        feature_retriever().push_to_hub("me/toy")
    feature_retriever().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"README\.md is missing"):
        cmr_hub.from_pretrained(tmp_path).push_to_hub("me/toy")


def test_hashing_methods_give_packed_codes(tmp_path):
    retriever = feature_retriever("sh")
    features = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    codes = retriever.encode_texts(features, batch_size=4)
    assert codes.shape == (9, 2)
    assert codes.dtype == np.uint8
    values = retriever.model.get_text_features(torch.from_numpy(features)).numpy()
    assert_signs(torch.from_numpy(unpack(codes)), torch.from_numpy(values))
    rows = retriever.encode_texts(features, real_valued=True)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, values / np.linalg.norm(values, axis=1, keepdims=True), rtol=1e-5)
    assert retriever.encode_texts([]).shape == (0, 2)
    assert retriever.encode_images([]).dtype == np.uint8
    assert retriever.encode_images(np.zeros((0, 6), np.float32), real_valued=True).shape == (0, 16)
    retriever.save_pretrained(tmp_path)
    assert_alike(cmr_hub.from_pretrained(tmp_path).encode_texts(features), codes)


def test_pairs_are_refused_by_methods_without_unified_codes():
    with pytest.raises(InputError, match="sh embeds each side by itself"):
        feature_retriever("sh").encode_pairs(np.zeros((2, 6), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="2 images against 3 texts"):
        feature_retriever("sh").encode_pairs(np.zeros((2, 6), np.float32), np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("method", ["dscmr", "cca", "sh"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_model_of_any_precision_gives_float32(method, dtype):
    retriever, given = feature_retriever(method), np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected, before = retriever.encode_texts(given, real_valued=True), retriever.fingerprint
    retriever.model.to(dtype)
    found = retriever.encode_texts(given, real_valued=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert retriever.encode_texts(given).dtype == (np.uint8 if method == "sh" else np.float32)
    assert retriever.fingerprint != before
