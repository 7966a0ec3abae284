"""Galleries that are built again: what is new is added, what changed is embedded again, and nothing else is."""

import multiprocessing
import os
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from closeness import assert_alike, assert_hits
from cmr_hub import Gallery
from cmr_hub.errors import ConflictError, InputError
from cmr_hub.retrieval import gallery_building
from cmr_hub.retrieval.gallery_building import Building
from cmr_hub.utils.files import changing
from toys import COLOURS, feature_dataset, feature_retriever, image_files, raw_retriever


@pytest.fixture(scope="module")
def raw():
    return raw_retriever()


@pytest.fixture
def counted(monkeypatch):
    """A retriever, and the first features of all that it has embedded."""
    retriever, seen = feature_retriever(), []
    encode = retriever.encode_images

    def encode_images(images, **options):
        seen.extend(np.asarray(images)[:, 0].tolist())
        return encode(images, **options)

    monkeypatch.setattr(retriever, "encode_images", encode_images)
    return retriever, seen


def assert_same_gallery(found, expected):
    assert found.ids == expected.ids
    for modality, rows in expected.embeds.items():
        assert_alike(found.embeds[modality], rows)
    assert [found.labels(row) for row in range(len(found))] == [expected.labels(row) for row in range(len(found))]
    for item in expected.ids[::7]:
        assert_hits(found.search(item=item, k=9), expected.search(item=item, k=9))


@pytest.mark.parametrize("shard_rows", [7, 50])
def test_after_changes_it_is_as_built_anew(tmp_path, counted, shard_rows):
    (retriever, seen), dataset = counted, feature_dataset(60)
    first = dataset.select([row for row in range(60) if row % 6 != 1])
    then = dataset.select([row for row in range(60) if row % 5 != 2])
    build = partial(Gallery.build, shard_rows=shard_rows, show_progress=False, remove_missing=True)
    build(first, retriever, tmp_path / "gallery")
    seen.clear()
    again = build(then, retriever, tmp_path / "gallery")
    new = set(then["id"][:]) - set(first["id"][:])
    assert len(seen) == len(new) == 8
    assert_same_gallery(again, build(then, retriever, tmp_path / "fresh"))
    assert {path.name for path in (tmp_path / "gallery").iterdir()} == {
        path.name for path in (tmp_path / "fresh").iterdir()
    }
    seen.clear()
    assert_same_gallery(build(then, retriever, tmp_path / "gallery"), again)
    assert not seen


def test_what_is_gone_stays_unless_it_is_to_be_dropped(tmp_path, counted):
    (retriever, seen), dataset = counted, feature_dataset(20)
    build = partial(Gallery.build, save_directory=tmp_path, retriever=retriever, shard_rows=8, show_progress=False)
    build(dataset)
    seen.clear()
    kept = build(dataset.select(range(5, 20)))
    assert kept.ids == [f"item-{i}" for i in (*range(5, 20), *range(5))]
    assert_alike(kept.embeds["text"][15], Gallery.from_dataset(dataset, retriever).embeds["text"][0])
    assert build(dataset.select(range(5, 20))).ids == kept.ids
    assert build(dataset.select(range(5, 20)), remove_missing=True).ids == kept.ids[:15]
    assert len(list(tmp_path.glob("items-*"))) == 2
    assert len(seen) == 20  # by the gallery in memory alone
    assert len(Gallery.from_pretrained(tmp_path, retriever=retriever)) == 15


def test_items_of_other_columns_are_not_put_next_to_those_that_are_kept(tmp_path):
    dataset, retriever = feature_dataset(9), feature_retriever()
    Gallery.build(dataset, retriever, tmp_path, show_progress=False)
    with pytest.raises(InputError, match=r"items that are not in the source.* Drop these items by remove_missing"):
        Gallery.build(dataset.select(range(5)).remove_columns("label"), retriever, tmp_path, show_progress=False)
    assert len(Gallery.from_pretrained(tmp_path, retriever=retriever)) == 9


def test_an_interrupted_update_embeds_nothing_twice_and_leaves_the_gallery(tmp_path, counted, monkeypatch):
    monkeypatch.setattr(gallery_building, "CHUNK_ROWS", 4)
    (retriever, seen), dataset, encode = counted, feature_dataset(40), counted[0].encode_texts
    build = partial(Gallery.build, save_directory=tmp_path, retriever=retriever, shard_rows=10, show_progress=False)
    build(dataset.select(range(0, 40, 2)))
    seen.clear()

    def interrupted(texts, **options):
        if len(seen) > 9:
            raise KeyboardInterrupt
        return encode(texts, **options)

    with monkeypatch.context() as stopped:
        stopped.setattr(retriever, "encode_texts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(dataset)
    assert Gallery.from_pretrained(tmp_path, retriever=retriever).ids == dataset["id"][::2]
    # Meanwhile one more is gone at the beginning, so that every item has moved.
    rest = dataset.select(range(1, 40))
    built = build(rest, remove_missing=True)
    assert built.ids == rest["id"][:]
    values, counts = np.unique(seen, return_counts=True)
    assert len(values) <= 20
    assert counts.sum() <= 20 + 4  # of the chunk that was under way
    assert_alike(built.embeds["image"], Gallery.from_dataset(rest, retriever).embeds["image"])


def photos(folder: Path, names: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number in names:
        Image.new("RGB", (24, 24), (number % 256, 7 * number % 256, 90)).save(folder / f"{number:03}.png")
    return folder


@pytest.mark.parametrize("keep_images", [True, False])
def test_a_folder_of_images_is_followed(tmp_path, raw, keep_images, monkeypatch):
    folder = photos(tmp_path / "photos", range(30))
    build = partial(Gallery.build, folder, raw, keep_images=keep_images, shard_rows=8, show_progress=False)
    build(save_directory=tmp_path / "gallery")
    photos(folder, range(40, 43))
    for name in ("003", "017"):
        (folder / f"{name}.png").unlink()
    (folder / "020.png").rename(folder / "001b.png")
    shutil.copy(folder / "041.png", folder / "009.png")
    embedded, encode = [], raw.encode_images
    monkeypatch.setattr(raw, "encode_images", lambda images, **options: embedded.append(len(images)) or encode(images))
    again = build(save_directory=tmp_path / "gallery", remove_missing=True)
    assert sum(embedded) == 3
    fresh = build(save_directory=tmp_path / "fresh")
    assert again.ids == fresh.ids
    assert_alike(again.embeds["image"], fresh.embeds["image"])
    assert again.image(1).convert("RGB").getpixel((0, 0)) == fresh.image(1).convert("RGB").getpixel((0, 0))


def test_a_file_that_was_only_touched_is_neither_read_again_nor_embedded(tmp_path, raw, monkeypatch):
    folder = photos(tmp_path / "photos", range(5))
    old = time.time() - 100
    for path in folder.iterdir():
        os.utime(path, (old, old))
    # Files count as settled two seconds after the last change; nobody waits for that here.
    monkeypatch.setattr("cmr_hub.retrieval.gallery_layout.COARSEST_CLOCK_NS", 0)
    build = partial(Gallery.build, folder, raw, tmp_path / "gallery", keep_images=False, show_progress=False)
    build()
    monkeypatch.setattr(raw, "encode_images", None)
    read, opened = [], gallery_building.ContentReader.read
    monkeypatch.setattr("cmr_hub.retrieval.gallery_contents.read_file", lambda path: read.append(path) or b"")
    build()
    assert not read
    monkeypatch.undo()
    monkeypatch.setattr(raw, "encode_images", None)
    (folder / "002.png").touch()
    assert len(build()) == 5
    assert opened


def test_a_file_that_is_gone_stays_findable_and_its_image_is_a_clear_error(tmp_path, raw):
    folder = photos(tmp_path / "photos", range(4))
    build = partial(Gallery.build, folder, raw, tmp_path / "gallery", keep_images=False, show_progress=False)
    build()
    (folder / "002.png").unlink()
    gallery = build()
    assert gallery.ids == ["000.png", "001.png", "003.png", "002.png"]
    assert len(gallery.search(item="002.png", k=4)) == 3
    with pytest.raises(InputError, match=r"002\.png.*no such file"):
        gallery.image(3)


def test_equal_images_are_named(tmp_path, raw, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    image_files(folder)
    shutil.copy(folder / "red.png", folder / "another red.png")
    with caplog.at_level("INFO"):
        gallery = Gallery.build(folder, raw, tmp_path / "gallery", show_progress=False)
    assert "1 image is the same as another, byte for byte: 'another red.png' and 'red.png'" in caplog.text
    assert gallery.duplicates() == [("another red.png", "red.png")]
    assert len(COLOURS) == len(gallery) - 1


def test_two_processes_at_once_are_refused_and_nothing_is_lost(tmp_path):
    dataset, retriever = feature_dataset(12), feature_retriever()
    build = partial(Gallery.build, dataset, retriever, tmp_path / "gallery", show_progress=False)
    build()
    held, release = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "gallery", held, release))
    other.start()
    try:
        assert held.wait(20)
        with pytest.raises(ConflictError, match=r"Another process is changing .*gallery"):
            build()
        assert len(Gallery.from_pretrained(tmp_path / "gallery", retriever=retriever)) == 12
    finally:
        release.set()
        other.join(20)
    assert len(build()) == 12
    assert not list((tmp_path / "gallery").glob(".writing*"))


def hold(folder, held, release):
    with changing(folder):
        held.set()
        release.wait(20)


def test_what_a_building_did_is_counted(tmp_path):
    dataset, retriever = feature_dataset(12), feature_retriever()
    settings = {"name": "a", "index": "auto", "index_options": {}}
    options = {"settings": settings, "shard_rows": 5, "keep_images": True, "keep_real_valued": False, "strict": False}

    def build(items):
        building = Building(items, retriever, tmp_path, **options, remove_missing=True)
        building.run(show_progress=False)
        return building.outcome

    build(dataset.select(range(8)))
    outcome = build(dataset.select(range(2, 12)))
    assert (outcome.items, outcome.embedded) == (10, 4)
    assert list(outcome.added) == [f"item-{i}" for i in range(8, 12)]
    assert list(outcome.removed) == ["item-0", "item-1"]
    assert not outcome.changed
    assert pq.read_metadata(tmp_path / "items-00000.parquet").num_rows == 5
