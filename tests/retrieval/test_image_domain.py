"""Hints that images are unlike those that a checkpoint was trained on."""

import json

import numpy as np
import pytest

import cmr_hub
from cmr_hub.data import load_dataset
from cmr_hub.data.columns import read_column
from cmr_hub.errors import CheckpointError
from cmr_hub.retrieval.image_domain import DOMAIN_FILE, ImageDomain, pooled, shipped_domain
from toys import feature_retriever, image_dataset, image_files, raw_retriever


def rows(count, seed=0, shift=0.0):
    """Rows near a plane of a space of 20 dimensions, or `shift` beyond it."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(count, 20)) * ([3, 2] + [0.1] * 18)
    made[:, -1] += shift
    return made


def gallery_of(retriever, dataset):
    return cmr_hub.Gallery(dataset, retriever, retriever.encode_images(read_column(dataset, "image")), None)


@pytest.fixture(scope="module")
def raw():
    return raw_retriever()


@pytest.fixture
def everything_is_far(raw):
    raw.image_domain = ImageDomain(np.zeros(1280, np.float32), np.zeros((1, 1280), np.float32), limit=0.0)
    yield raw
    raw.image_domain = None


@pytest.fixture(scope="module")
def emoji():
    """A checkpoint of before domains were stored, on the data set whose features come with the package."""
    return cmr_hub.from_pretrained("cmr/dscmr-emoji")


def test_distances_are_those_from_the_subspace():
    given = rows(300)
    domain = ImageDomain.fit(given, components=2)
    learned = given[np.arange(300) % 4 != 0].astype(np.float32)
    centred = learned - learned.mean(axis=0)
    plane = np.linalg.svd(centred, full_matrices=False)[2][:2]
    others = rows(5, seed=1) - learned.mean(axis=0)
    expected = [np.linalg.norm(row - plane.T @ (plane @ row)) ** 2 for row in others]
    np.testing.assert_allclose(domain.distances(rows(5, seed=1)), expected, rtol=1e-3)


def test_other_rows_are_far_and_those_of_the_kind_are_not():
    domain = ImageDomain.fit(rows(1000), components=2)
    assert domain.is_far(rows(500, seed=1)).mean() < 0.05
    assert domain.is_far(rows(500, seed=2, shift=2.0)).all()


def test_of_regions_the_mean_counts():
    regions = np.stack([rows(300), rows(300, seed=1)], axis=1)
    domain, pooled_domain = ImageDomain.fit(regions, 2), ImageDomain.fit(regions.mean(axis=1), 2)
    np.testing.assert_allclose(domain.distances(regions), pooled_domain.distances(pooled(regions)), rtol=1e-3)


def test_few_images_say_nothing():
    assert ImageDomain.fit(rows(150)) is None


def test_it_travels_with_a_checkpoint(tmp_path):
    retriever = feature_retriever()
    assert retriever.image_domain is None
    retriever.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / DOMAIN_FILE).exists()
    retriever.image_domain = ImageDomain.fit(rows(300), components=2)
    retriever.save_pretrained(tmp_path / "with")
    assert DOMAIN_FILE in json.loads((tmp_path / "with" / "checksums.json").read_text())["files"]
    loaded = cmr_hub.from_pretrained(tmp_path / "with").image_domain
    np.testing.assert_allclose(loaded.distances(rows(9)), retriever.image_domain.distances(rows(9)), rtol=1e-3)
    assert cmr_hub.from_pretrained(tmp_path / "without").image_domain is None


def test_a_damaged_file_is_named(tmp_path):
    domain = ImageDomain.fit(rows(300))
    ImageDomain(domain.mean[:-1], domain.components, domain.limit).save(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{DOMAIN_FILE} has arrays that do not fit each other"):
        ImageDomain.load(tmp_path)
    (tmp_path / DOMAIN_FILE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="not readable as safetensors"):
        ImageDomain.load(tmp_path)


def test_checkpoints_on_emoji_know_emoji(emoji):
    test = load_dataset("emoji")["test"]
    features = emoji.processor.store.encode(read_column(test, "image")).numpy()
    assert emoji.image_domain.is_far(features).mean() < 0.05
    assert shipped_domain("wiki", emoji.processor.image_encoder) is None
    assert shipped_domain("folder", emoji.processor.image_encoder) is None


def test_galleries_of_emoji_are_no_note(emoji):
    assert gallery_of(emoji, load_dataset("emoji")["test"].select(range(40))).notes(text="a smiling cat") == []


def test_a_gallery_of_other_images_is_a_warning_and_a_note(everything_is_far, tmp_path, caplog):
    gallery = cmr_hub.Gallery.from_dataset(image_dataset(tmp_path), everything_is_far, cache=False, name="Photos")
    (note,) = gallery.notes(text="red")
    assert note.startswith("The gallery's images are unlike those that the checkpoint was trained on (100 % of")
    assert gallery.notes() == [note]
    assert f"Photos: {note}" in caplog.text


def test_an_image_of_another_kind_is_a_warning_and_a_note(everything_is_far, tmp_path, caplog):
    gallery = gallery_of(everything_is_far, image_dataset(tmp_path))
    gallery.search(image=image_files(tmp_path)[0], k=1)
    assert "The image is unlike those that the checkpoint was trained on" in caplog.text
    assert len(gallery.notes(image=image_files(tmp_path)[0])) == 2


def test_two_images_are_too_few_for_a_note(everything_is_far, tmp_path):
    assert gallery_of(everything_is_far, image_dataset(tmp_path).select(range(2))).notes() == []


def test_a_checkpoint_that_does_not_say_gives_no_note(raw, tmp_path):
    assert gallery_of(raw, image_dataset(tmp_path)).notes(image=image_files(tmp_path)[0]) == []


@pytest.mark.slow
def test_photos_are_unlike_emoji(emoji, real_data):
    photos = load_dataset("flickr8k", real_data / "flickr8k")["test"].select(range(40))
    assert gallery_of(emoji, photos).notes()
    assert sum(emoji.check_image(photo) != "" for photo in read_column(photos, "image")) > 35
