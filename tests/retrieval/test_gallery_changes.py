"""Items added to galleries and removed from them, in memory and in their folders."""

import shutil

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset
from PIL import Image

from closeness import assert_alike, assert_hits
from cmr_hub import Gallery
from cmr_hub.errors import ConflictError, DiskFullError, InputError
from cmr_hub.retrieval import gallery_changes
from cmr_hub.utils.files import changing
from toys import feature_dataset, feature_retriever, image_dataset, image_files, raw_retriever


@pytest.fixture(scope="module")
def retriever():
    return feature_retriever()


@pytest.fixture(scope="module")
def raw():
    return raw_retriever()


def of_memory(dataset, retriever, folder):
    return Gallery.from_dataset(dataset, retriever)


def built(dataset, retriever, folder):
    return Gallery.build(dataset, retriever, folder, shard_rows=8, show_progress=False)


def saved(dataset, retriever, folder):
    Gallery.from_dataset(dataset, retriever).save_pretrained(folder)
    return Gallery.from_pretrained(folder, retriever=retriever)


MADE = pytest.mark.parametrize("make", [of_memory, built, saved])


def assert_same(found, expected):
    assert found.ids == expected.ids
    for modality, rows in expected.embeds.items():
        assert_alike(found.embeds[modality], rows)
    for row, item in enumerate(expected.ids):
        assert found.labels(row) == expected.labels(row)
        assert_hits(found.search(item=item, k=5), expected.search(item=item, k=5))


@MADE
def test_added_and_removed_it_is_as_made_anew(tmp_path, retriever, make, monkeypatch):
    monkeypatch.setattr(gallery_changes, "SHARD_ROWS", 10)  # so that the last shard has room for some
    dataset = feature_dataset(40)
    gallery = make(dataset.select(range(25)), retriever, tmp_path)
    assert gallery.add(dataset.select(range(25, 40))) == dataset["id"][25:40]
    gone = [0, 7, 8, 24, 26, 39]
    gallery.remove([f"item-{row}" for row in gone])
    rest = dataset.select([row for row in range(40) if row not in gone])
    expected = Gallery.from_dataset(rest, retriever)
    assert_same(gallery, expected)
    if make is not of_memory:
        assert_same(Gallery.from_pretrained(tmp_path, retriever=retriever), expected)
        files = str(tmp_path / "items-*.parquet")
        assert len(load_dataset("parquet", data_files=files, split="train", cache_dir=tmp_path / "cache")) == 34


def test_a_built_gallery_that_was_added_to_is_built_again_without_embedding(tmp_path, retriever, monkeypatch):
    dataset = feature_dataset(30)
    gallery = built(dataset.select(range(20)), retriever, tmp_path)
    gallery.add(dataset.select(range(20, 30)))
    gallery.remove("item-3")
    with monkeypatch.context() as without:
        without.setattr(retriever, "encode_images", None)
        again = built(dataset.select([row for row in range(30) if row != 3]), retriever, tmp_path)
    assert again.ids == [f"item-{row}" for row in range(30) if row != 3]


def test_codes_and_the_values_behind_them(tmp_path):
    dataset, retriever = feature_dataset(30), feature_retriever("sh")
    options = {"keep_real_valued": True, "show_progress": False}
    gallery = Gallery.build(dataset.select(range(20)), retriever, tmp_path, **options)
    gallery.add(dataset.select(range(20, 30)))
    gallery.remove(["item-1"])
    rest = dataset.select([0, *range(2, 30)])
    expected = Gallery.from_dataset(rest, retriever, keep_real_valued=True)
    assert_alike(gallery.real_valued["text"], expected.real_valued["text"])
    found, wanted = (each.search(item="item-2", k=3, rerank=9) for each in (gallery, expected))
    assert_hits(found, wanted)


@MADE
def test_what_cannot_be_done_changes_nothing(tmp_path, retriever, make):
    dataset = feature_dataset(12)
    gallery = make(dataset.select(range(9)), retriever, tmp_path)
    other_classes = dataset.select([9]).cast_column("label", ClassLabel(names=["x", "y", "z"]))
    for attempt, message in (
        (lambda: gallery.add(dataset.select([3, 9])), "the gallery has already: 'item-3'"),
        (lambda: gallery.add(dataset.select([9, 9])), "are given twice: 'item-9'"),
        (lambda: gallery.add(other_classes), r"has the class '[xyz]', and the gallery has a, b, c"),
        (lambda: gallery.add(dataset.select([9]).remove_columns("text_features")), "have images and texts"),
        (lambda: gallery.remove(["item-2", "item-11"]), "There is no item 'item-11'"),
        (lambda: gallery.remove(gallery.ids), "at least one item, and all would be removed"),
    ):
        with pytest.raises(InputError, match=message):
            attempt()
        assert gallery.ids == dataset["id"][:9]
    if make is not of_memory:
        assert Gallery.from_pretrained(tmp_path, retriever=retriever).ids == dataset["id"][:9]


def test_classes_in_another_order_are_the_same_classes(retriever):
    dataset = feature_dataset(12)
    gallery = Gallery.from_dataset(dataset.select(range(9)), retriever)
    names = {0: "b", 1: "c", 2: "a"}
    new = dataset.select(range(9, 12)).cast_column("label", ClassLabel(names=list(names.values())))
    gallery.add(new)
    assert [gallery.labels(row) for row in range(9, 12)] == [(names[label],) for label in dataset["label"][9:12]]


def test_images_are_copied_where_the_gallery_copies_them(tmp_path, raw):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    dataset = image_dataset(tmp_path / "a")
    gallery = Gallery.build(dataset, raw, tmp_path / "gallery", show_progress=False)
    more = dataset.select([0, 1]).map(lambda row: {"id": f"new {row['id']}"})
    gallery.add(more)
    gallery.remove("red")
    shutil.rmtree(tmp_path / "a")
    assert gallery.image(2).convert("RGB").getpixel((0, 0)) == (220, 30, 30)
    assert Gallery.from_pretrained(tmp_path / "gallery", retriever=raw).texts(2) == ("a red square", "red paint")


def test_images_that_stay_where_they_are(tmp_path, raw, caplog):
    photos = tmp_path / "photos"
    photos.mkdir()
    image_files(photos)
    gallery = Gallery.build(photos, raw, tmp_path / "gallery", keep_images=False, show_progress=False)
    (photos / "new").mkdir()
    Image.new("RGB", (20, 20), "white").save(photos / "new" / "white.png")
    shutil.copy(photos / "red.png", photos / "new" / "again.png")
    with caplog.at_level("INFO"):
        assert gallery.add([photos / "new" / "again.png", photos / "new" / "white.png"]) == [
            "new/again.png",
            "new/white.png",
        ]
    assert "1 image is the same as another, byte for byte: 'red.png' and 'new/again.png'" in caplog.text
    assert gallery.image(4).convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    Image.new("RGB", (20, 20)).save(tmp_path / "outside.png")
    with pytest.raises(InputError, match=r"outside\.png is not in .*photos, where the images of this gallery are"):
        gallery.add([tmp_path / "outside.png"])
    again = Gallery.from_pretrained(tmp_path / "gallery", retriever=raw, image_root=photos)
    assert again.ids == gallery.ids
    np.testing.assert_allclose(again.embeds["image"][3], again.embeds["image"][2], atol=1e-5)


def test_a_change_by_another_process_is_a_conflict_and_loses_nothing(tmp_path, retriever):
    dataset = feature_dataset(12)
    first = built(dataset.select(range(9)), retriever, tmp_path)
    second = Gallery.from_pretrained(tmp_path, retriever=retriever)
    second.add(dataset.select([9]))
    second.add(dataset.select([10]))  # its own change is none of another process
    for attempt in (lambda: first.add(dataset.select([11])), lambda: first.remove("item-0")):
        with pytest.raises(ConflictError, match="was changed by another process since it was opened: open it again"):
            attempt()
    assert len(first) == 9
    with changing(tmp_path), pytest.raises(ConflictError, match="Another process is changing"):
        second.remove("item-0")
    assert Gallery.from_pretrained(tmp_path, retriever=retriever).ids == [f"item-{row}" for row in range(11)]


def test_a_full_disk_leaves_folder_and_memory_as_they_were(tmp_path, retriever, monkeypatch):
    dataset = feature_dataset(12)
    gallery = built(dataset.select(range(9)), retriever, tmp_path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as without_space:
        without_space.setattr(gallery_changes, "write_table", full)
        with pytest.raises(DiskFullError):
            gallery.add(dataset.select([9]))
    assert len(gallery) == len(Gallery.from_pretrained(tmp_path, retriever=retriever)) == 9
    gallery.add(dataset.select([9]))
    assert len(gallery) == 10


def test_equal_images_are_found(tmp_path, raw):
    dataset = image_dataset(tmp_path)
    gallery = Gallery.from_dataset(dataset, raw)
    assert gallery.duplicates() == []
    gallery.add(dataset.select([2, 0]).map(lambda row: {"id": f"new {row['id']}"}))
    assert gallery.duplicates() == [("red", "new red"), ("blue", "new blue")]
