from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from archives import save_mat
from cmr_hub.data import dcmh, is_available, load_dataset
from cmr_hub.errors import DatasetError, DownloadError

PAIRS = 50
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 3, PAIRS), dtype=np.uint8)
TAGS = RNG.integers(0, 2, (PAIRS, 7)).astype(np.uint8)
LABELS = np.eye(24)[np.arange(PAIRS) % 24] + np.eye(24)[np.arange(PAIRS) * 5 % 24] > 0


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"images": IMAGES, "YAll": TAGS, "LAll": LABELS.astype(np.float64), **changes}


@pytest.fixture
def folder(tmp_path, private_cache) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def check(rows) -> None:
    """The split of DCMH's code, and the pairs as they stand in the file."""
    assert {split: len(part) for split, part in rows.items()} == {"train": 46, "test": 4}
    assert rows["test"]["id"][:] == ["1", "2", "3", "4"]
    assert rows["train"]["id"][:2] == ["5", "6"]
    np.testing.assert_array_equal(rows["train"].with_format("numpy")[:]["text_features"], TAGS[4:])
    assert [set(labels) for labels in rows["train"]["labels"]] == [set(np.flatnonzero(row)) for row in LABELS[4:]]
    for split, start in (("test", 0), ("train", 4)):
        for number, image in enumerate(rows[split]["image"], start=start):
            np.testing.assert_array_equal(np.asarray(image), IMAGES[..., number])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_one_file(folder, private_cache, caplog, version):
    save_mat(folder / "FLICKR-25K.mat", arrays(), version)
    told = []
    rows = load_dataset("mirflickr-dcmh", folder, progress=lambda *step: told.append(step))
    assert rows["train"].column_names == ["id", "image", "text_features", "labels"]
    check(rows)
    assert told[-1] == (1.0, "Writing the images of FLICKR-25K.mat")
    assert "50 pairs (train 46, test 4); the complete data set has 20,015 (train 18,015, test 2,000)" in caplog.text


def test_three_files_of_both_versions_and_other_names(folder):
    save_mat(folder / "mirflickr25k-iall.mat", {"IAll": IMAGES.astype(np.float32)}, "7.3")
    save_mat(folder / "mirflickr25k-yall.mat", {"YAll": TAGS.T}, "7.3")
    (folder / "LAll").mkdir()
    save_mat(folder / "LAll" / "mirflickr25k-lall.mat", {"labels": LABELS.astype(np.uint8)}, "5")
    assert is_available("mirflickr-dcmh", folder)
    check(load_dataset("mirflickr-dcmh", folder))


def test_nuswide_has_queries_and_classes_of_its_own(folder, caplog):
    labels = np.eye(21)[np.arange(400) % 21]
    for name, array in (("iall", RNG.random((400, 5))), ("yall", np.ones((400, 3))), ("lall", labels)):
        save_mat(
            folder / f"nus-wide-tc21-{name}.mat", {"IAll" if name == "iall" else f"{name[0].upper()}All": array}, "5"
        )
    rows = load_dataset("nuswide-dcmh", folder)
    assert rows["train"].column_names == ["id", "image_features", "text_features", "labels"]
    assert {split: len(part) for split, part in rows.items()} == {"train": 396, "test": 4}
    assert "the complete data set has 195,834 (train 193,734, test 2,100)" in caplog.text


def test_images_are_written_once(folder, private_cache, monkeypatch):
    path = save_mat(folder / "FLICKR-25K.mat", arrays(), "7.3")
    written = []
    real = dcmh._write_image
    monkeypatch.setattr(dcmh, "AT_ONCE", 8)

    def write(images, path, values, number):
        if len(written) == 20:
            raise KeyboardInterrupt
        written.append(number)
        real(images, path, values, number)

    monkeypatch.setattr(dcmh, "_write_image", write)
    with pytest.raises(KeyboardInterrupt):
        load_dataset("mirflickr-dcmh", folder)
    (partial,) = (private_cache / "pictures").glob("*.partial")
    kept = {each: each.stat().st_mtime_ns for each in partial.glob("*.png")}
    assert len(kept) == 20
    monkeypatch.setattr(dcmh, "_write_image", real)
    check(load_dataset("mirflickr-dcmh", folder))
    whole = partial.with_suffix("")
    assert all((whole / each.name).stat().st_mtime_ns == time for each, time in kept.items())
    monkeypatch.setattr(dcmh, "_write_image", lambda *_: pytest.fail("written again"))
    check(load_dataset("mirflickr-dcmh", folder))
    monkeypatch.setattr(dcmh, "_write_image", real)
    save_mat(path, arrays(images=255 - IMAGES), "7.3")
    rows = load_dataset("mirflickr-dcmh", folder)
    np.testing.assert_array_equal(np.asarray(rows["test"][0]["image"]), 255 - IMAGES[..., 0])


def test_images_of_a_file_that_changes_while_it_is_read_are_dropped(tmp_path, private_cache, monkeypatch):
    path = save_mat(tmp_path / "FLICKR-25K.mat", arrays(), "7.3")
    real = dcmh._write_image

    def write(images, target, values, number):
        os.utime(path, ns=(0, number))
        real(images, target, values, number)

    monkeypatch.setattr(dcmh, "_write_image", write)
    with pytest.raises(DatasetError, match=r"FLICKR-25K.mat changed while its images were read"):
        load_dataset("mirflickr-dcmh", tmp_path)
    assert not list((private_cache / "pictures").glob("*/*.png"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"YAll": TAGS[1:]}, r"YAll has shape \(49, 7\), but there are classes of 50 pairs"),
        ({"images": IMAGES[..., 1:]}, r"images has shape .*49\); height x width x 3 x 50 is expected"),
        ({"images": IMAGES[:, :, :2]}, r"height x width x 3 x 50 is expected"),
        ({"images": IMAGES.astype(np.float32) - 120}, "values beyond 0 to 255 in image 1"),
        ({"images": np.full(IMAGES.shape, np.nan)}, "values beyond 0 to 255 in image 1"),
        ({"images": np.ones((50, 2, 2))}, "a matrix is expected"),
        ({"LAll": LABELS[:, :23].astype(float)}, r"LAll has shape \(50, 23\); .* has 24 classes"),
        ({"LAll": LABELS * 2.0}, "LAll has values other than 0 and 1"),
        ({"LAll": LABELS * (np.arange(50) != 7)[:, None]}, "pair 8 has no class"),
    ],
)
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_damage_is_named(folder, changes, message, version):
    changes = {name: array.astype(float) if array.dtype == bool else array for name, array in changes.items()}
    save_mat(folder / "FLICKR-25K.mat", arrays(**changes), version)
    with pytest.raises(DatasetError, match=message):
        load_dataset("mirflickr-dcmh", folder)


def test_it_has_to_be_fetched_by_hand(folder, cache):
    with pytest.raises(DownloadError, match=r"has to be fetched by hand.*Fetch FLICKR-25K.mat"):
        load_dataset("mirflickr-dcmh")
