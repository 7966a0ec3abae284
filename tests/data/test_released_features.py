"""The features that DSCMR and the authors of XMedia release, in generated files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cmr_hub.data import is_available, load_dataset
from cmr_hub.data.mat import find_array
from cmr_hub.errors import DatasetError, DownloadError

SIZES = {"train": 40, "test": 20}


def pascal_arrays(split: str, first: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SIZES[split])
    n = SIZES[split]
    return {
        f"{split}_img": rng.random((n, 6)),
        f"{split}_txt": rng.random((n, 4)).astype(np.float32),
        f"{split}_img_lab": (np.arange(n) % 20 + first)[:, None],
    }


@pytest.fixture(params=[0, 1])
def pascal(request, tmp_path) -> Path:
    """DSCMR's six files, with classes counted from 0 or from 1."""
    for split in SIZES:
        for name, array in pascal_arrays(split, request.param).items():
            savemat(tmp_path / f"{name}.mat", {name: array})
    return tmp_path


def xmedia_arrays() -> dict[str, np.ndarray]:
    arrays = {}
    for suffix, n in (("tr", 40), ("te", 20)):
        categories = np.arange(n) % 20 + 1
        arrays[f"I_{suffix}_CNN"] = np.stack([categories, np.arange(n)], axis=1)
        arrays[f"T_{suffix}_BOW"] = np.stack([categories[::-1], np.arange(n), np.zeros(n)], axis=1)
        arrays[f"{suffix}ImgCat"], arrays[f"{suffix}TxtCat"] = categories, categories[::-1, None]
    return arrays


def test_dscmrs_features_of_pascal_sentence(pascal, caplog):
    rows = load_dataset("pascal-dscmr", pascal)
    assert "60 pairs (train 40, test 20); the complete data set has 900 (train 800, test 100)" in caplog.text
    assert {split: len(part) for split, part in rows.items()} == SIZES
    assert rows["train"].column_names == ["id", "image_features", "text_features", "label"]
    for split, part in rows.items():
        expected = pascal_arrays(split, 0)
        part = part.with_format("numpy")[:]
        np.testing.assert_array_equal(part["image_features"], expected[f"{split}_img"].astype(np.float32))
        np.testing.assert_array_equal(part["text_features"], expected[f"{split}_txt"])
        np.testing.assert_array_equal(part["label"], expected[f"{split}_img_lab"][:, 0])
    assert rows["test"]["id"][:2] == ["test-1", "test-2"]
    assert rows["test"].features["label"].names[19] == "class 20"


def test_what_dscmrs_release_holds(real_data):
    """The facts of the module's docstring, of the files that are at hand."""
    folder = real_data / "dscmr_pascal"
    for split, rows in (("train", 800), ("test", 100)):
        labels = find_array(folder / f"{split}_img_lab.mat", [f"{split}_img_lab"]).read().ravel()
        assert np.bincount(labels.astype(int)).tolist() == [rows // 20] * 20
        assert np.count_nonzero(np.diff(labels)) == 19  # sorted by class
        texts = find_array(folder / f"{split}_txt.mat", [f"{split}_txt"]).read()
        assert texts.shape == (rows, 300)
        assert texts.min() == 0
    images = find_array(folder / "test_img.mat", ["test_img"]).read()
    assert images.shape == (100, 4096)
    assert images.min() == 0
    assert not is_available("pascal-dscmr", folder)  # one file is missing


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("test_img", np.ones((19, 6)), "the test part has 19 images, 20 texts and 20 classes"),
        ("test_txt", np.ones((20, 5)), r"vectors of different lengths, \[\(6, 4\), \(6, 5\)\]"),
        ("test_img_lab", np.full((20, 1), 21), "test part: 21 in row 1 is no class"),
        ("test_img_lab", np.full((20, 1), -1), "test part: -1 in row 1 is no class"),
        ("test_img_lab", np.full((20, 1), 1.5), "test part: 1.5 in row 1 is no class"),
        ("test_img", np.full((20, 6), np.inf), "test_img has values that are not finite"),
        ("test_img", np.ones((20, 6, 2)), "a matrix is expected"),
    ],
)
def test_damage_of_dscmrs_features(pascal, name, array, message):
    savemat(pascal / f"{name}.mat", {name: array})
    with pytest.raises(DatasetError, match=message):
        load_dataset("pascal-dscmr", pascal)


def test_dscmrs_files_by_other_names(pascal):
    savemat(pascal / "test_txt.mat", {"texts": np.ones((20, 4))})
    with pytest.raises(DatasetError, match=r"test_txt.mat has no array of numbers test_txt, only texts"):
        load_dataset("pascal-dscmr", pascal)
    (pascal / "test_txt.mat").unlink()
    assert not is_available("pascal-dscmr", pascal)
    with pytest.raises(DatasetError, match="does not have the layout"):
        load_dataset("pascal-dscmr", pascal)


def test_xmedias_images_and_texts_are_paired_by_class(tmp_path, caplog):
    savemat(tmp_path / "XMediaFeatures.mat", {**xmedia_arrays(), "A_tr": np.ones((3, 3))})
    rows = load_dataset("xmedia", tmp_path)
    assert {split: len(part) for split, part in rows.items()} == SIZES
    for part in rows.values():
        part = part.with_format("numpy")[:]
        np.testing.assert_array_equal(part["image_features"][:, 0], part["label"] + 1)
        np.testing.assert_array_equal(part["text_features"][:, 0], part["label"] + 1)
        assert len(set(part["image_features"][:, 1])) == len(set(part["text_features"][:, 1])) == len(part["label"])
    assert "60 pairs (train 40, test 20); the complete data set has 5,000" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teImgCat": np.ones(20)}, "a class has more images than texts, or fewer"),
        ({"I_te_CNN": np.ones((19, 2))}, "have 19, 20, 20, 20 rows"),
        ({"teImgCat": np.full(20, 21), "teTxtCat": np.full(20, 21)}, "test part: 21 in row 1 is no class"),
        ({"T_te_BOW": np.ones((20, 2))}, "vectors of different lengths"),
        ({"trTxtCat": np.array([["a"] * 40], dtype=object)}, "no array of numbers trTxtCat"),
    ],
)
def test_damage_of_xmedias_features(tmp_path, change, message):
    savemat(tmp_path / "XMediaFeatures.mat", xmedia_arrays() | change)
    with pytest.raises(DatasetError, match=message):
        load_dataset("xmedia", tmp_path)


@pytest.mark.parametrize("name", ["pascal-dscmr", "xmedia"])
def test_they_have_to_be_fetched_by_hand(cache, name):
    with pytest.raises(DownloadError, match=rf"has to be fetched by hand.*put the folder at .*{name}"):
        load_dataset(name)
