"""Galleries built shard by shard are those that are built at once, whatever came between."""

import csv
import json
import os
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Image
from PIL import Image as Images
from safetensors.numpy import load_file, save_file

from closeness import assert_alike, assert_hits
from cmr_hub import Gallery
from cmr_hub.errors import InputError
from cmr_hub.retrieval import gallery_building
from toys import COLOURS, feature_dataset, feature_retriever, image_dataset, image_files, raw_retriever


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(gallery_building, "CHUNK_ROWS", 4)


@pytest.fixture(scope="module")
def raw():
    """A retriever of raw images and texts."""
    return raw_retriever()


@pytest.fixture
def counted(monkeypatch):
    """A retriever, and the list of ids' first features that it has embedded so far."""
    retriever, seen = feature_retriever(), []
    encode = retriever.encode_images

    def encode_images(images, **options):
        seen.extend(images[:, 0].tolist())
        return encode(images, **options)

    monkeypatch.setattr(retriever, "encode_images", encode_images)
    return retriever, seen


@pytest.mark.parametrize("shard_rows", [1, 7, 10, 100])
def test_the_same_as_built_at_once(tmp_path, shard_rows):
    dataset, retriever = feature_dataset(30), feature_retriever()
    built = Gallery.build(dataset, retriever, tmp_path, shard_rows=shard_rows, name="Thirty", show_progress=False)
    at_once = Gallery.from_dataset(dataset, retriever)
    assert len(list(tmp_path.glob("items-*.parquet"))) == -(-30 // shard_rows)
    for modality in ("image", "text"):
        np.testing.assert_allclose(built.embeds[modality], at_once.embeds[modality], atol=1e-6)
    assert built.name == "Thirty"
    assert built.ids == at_once.ids
    hits = built.search(item="item-3", k=5)
    assert [hit.id for hit in hits] == [hit.id for hit in at_once.search(item="item-3", k=5)]
    assert built.class_names == at_once.class_names


def test_codes_with_the_values_behind_them(tmp_path):
    dataset, retriever = feature_dataset(30), feature_retriever("sh")
    built = Gallery.build(dataset, retriever, tmp_path, shard_rows=8, keep_real_valued=True, show_progress=False)
    at_once = Gallery.from_dataset(dataset, retriever, keep_real_valued=True)
    assert_alike(built.embeds["text"], at_once.embeds["text"])
    found, expected = (gallery.search(item="item-2", k=3, rerank=9) for gallery in (built, at_once))
    assert_hits(found, expected)


@pytest.mark.parametrize("stop_at", [1, 6, 13, 29])
def test_an_interrupt_costs_nothing(tmp_path, counted, monkeypatch, stop_at):
    retriever, seen = counted
    dataset, encode = feature_dataset(30), retriever.encode_texts

    def interrupted(texts, **options):
        if len(seen) > stop_at:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(retriever, "encode_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    assert not (tmp_path / "gallery_config.json").exists()
    under_way = seen[-4:] if stop_at < 28 else seen[-2:]  # of the chunk that was under way one side was embedded
    monkeypatch.setattr(retriever, "encode_texts", encode)
    built = Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    values, counts = np.unique(seen, return_counts=True)
    assert len(values) == 30
    assert set(values[counts > 1]) <= set(under_way)
    assert counts.sum() <= 34
    assert not list(tmp_path.glob("*partial*"))
    np.testing.assert_allclose(
        built.embeds["image"], Gallery.from_dataset(dataset, retriever).embeds["image"], atol=1e-6
    )
    before = len(seen)
    again = Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    assert len(seen) == before
    assert again.ids == built.ids


def written(folder, name, dataset):
    """A Parquet file of some items without their ids."""
    path = folder / f"{name}.parquet"
    pq.write_table(dataset.remove_columns("id").with_format("arrow")[:], path)
    return path


def test_a_file_of_as_many_items_without_ids_is_another_source(tmp_path):
    first, second = (written(tmp_path, f"items-{seed}", feature_dataset(12, seed)) for seed in (0, 1))
    retriever = feature_retriever()
    Gallery.build(first, retriever, tmp_path / "gallery", show_progress=False)
    with pytest.raises(InputError, match=r"it differs in all items \(no item of the source is in the gallery\)"):
        Gallery.build(second, retriever, tmp_path / "gallery", show_progress=False)
    assert len(Gallery.build(first, retriever, tmp_path / "gallery", show_progress=False)) == 12


@pytest.mark.parametrize(
    ("change", "embedded"), [("text", 1), ("label", 0), ("class names", 0), ("order", 0), ("feature", 1)]
)
def test_what_changed_under_the_same_ids_is_brought_up_to_date(tmp_path, counted, change, embedded):
    (retriever, seen), dataset = counted, feature_dataset(12)
    dataset = dataset.add_column("texts", [["a text"]] * 12)
    Gallery.build(dataset, retriever, tmp_path / "gallery", shard_rows=5, show_progress=False)
    vectors = dataset.with_format("numpy")["image_features"][:].copy()
    vectors[11] = vectors[11][::-1]
    kind = dataset.features["image_features"]
    other = {
        "text": lambda: dataset.remove_columns("text_features").add_column(
            "text_features", [*dataset["text_features"][:11], [0.5] * 4], feature=dataset.features["text_features"]
        ),
        "label": lambda: dataset.map(lambda row: {"label": (row["label"] + 1) % 3}),
        "class names": lambda: dataset.cast_column("label", ClassLabel(names=["c", "b", "a"])),
        "order": lambda: dataset.select([*range(10), 11, 10]),
        "feature": lambda: dataset.remove_columns("image_features").add_column(
            "image_features", vectors.tolist(), feature=kind
        ),
    }[change]()
    seen.clear()
    again = Gallery.build(other, retriever, tmp_path / "gallery", shard_rows=5, show_progress=False)
    assert len(seen) == embedded
    fresh = Gallery.build(other, retriever, tmp_path / "fresh", shard_rows=5, show_progress=False)
    assert (again.ids, again.class_names) == (fresh.ids, fresh.class_names)
    assert [again.labels(row) for row in range(12)] == [fresh.labels(row) for row in range(12)]
    for modality in ("image", "text"):
        assert_alike(again.embeds[modality], fresh.embeds[modality])


def test_images_replaced_under_the_same_names_are_found_by_their_bytes(tmp_path, monkeypatch, raw):
    """Two files that change places, sizes and times included, are embedded no second time, and not mixed up."""
    (tmp_path / "images").mkdir()
    image_dataset(tmp_path / "images")
    where = tmp_path / "images", tmp_path / "gallery"
    before = Gallery.build(where[0], raw, where[1], show_progress=False)
    assert before.ids == ["blue.png", "green.png", "red.png"]
    red, green = where[0] / "red.png", where[0] / "green.png"
    content, times = (red.read_bytes(), green.read_bytes()), red.stat()
    for path, of_the_other in ((green, content[0]), (red, content[1])):
        path.write_bytes(of_the_other)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    monkeypatch.setattr(raw, "encode_images", None)
    after = Gallery.build(where[0], raw, where[1], show_progress=False)
    assert_alike(after.embeds["image"], before.embeds["image"][[0, 2, 1]])


def test_images_of_two_precisions_are_not_mixed(tmp_path, raw, monkeypatch):
    (tmp_path / "images").mkdir()
    image_dataset(tmp_path / "images")
    where = tmp_path / "images", tmp_path / "gallery"
    Gallery.build(where[0], raw, where[1], show_progress=False)
    monkeypatch.setenv("CMR_HUB_PRECISION", "bf16")
    with pytest.raises(InputError, match="it differs in precisions"):
        Gallery.build(where[0], raw, where[1], show_progress=False)


def test_what_is_new_at_the_end_is_added(tmp_path, counted):
    retriever, seen = counted
    dataset = feature_dataset(30)
    Gallery.build(dataset.select(range(14)), retriever, tmp_path, shard_rows=10, show_progress=False)
    seen.clear()
    grown = Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    assert len(seen) == 16
    assert_alike(grown.embeds["image"], Gallery.from_dataset(dataset, retriever).embeds["image"])
    assert grown.ids == dataset["id"][:]
    assert not list(tmp_path.glob("*partial*"))


def test_a_gallery_that_is_added_to_stays_as_it_was_until_the_end(tmp_path, counted, monkeypatch):
    retriever, _ = counted
    dataset, encode = feature_dataset(30), retriever.encode_texts
    Gallery.build(dataset.select(range(14)), retriever, tmp_path, shard_rows=10, show_progress=False)
    calls = []

    def interrupted(texts, **options):
        calls.append(len(texts))
        if len(calls) > 3:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(retriever, "encode_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    monkeypatch.setattr(retriever, "encode_texts", encode)
    assert (tmp_path / "items-00001.partial.safetensors").exists()
    assert Gallery.from_pretrained(tmp_path, retriever=retriever).ids == dataset["id"][:14]
    assert len(Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)) == 30


def flip_a_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["other items", "cut", "a flipped bit", "of an earlier version"])
def test_what_was_left_of_other_items_is_embedded_anew(tmp_path, counted, monkeypatch, damage):
    retriever, seen = counted
    dataset, encode = feature_dataset(12), retriever.encode_texts

    def interrupted(texts, **options):
        if len(seen) > 8:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(retriever, "encode_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Gallery.build(dataset, retriever, tmp_path, show_progress=False)
    monkeypatch.setattr(retriever, "encode_texts", encode)
    left = tmp_path / "items-00000.partial.safetensors"
    if damage == "other items":
        dataset = feature_dataset(12, seed=1)
    elif damage == "a flipped bit":
        flip_a_bit(left, -30)
    elif damage == "cut":
        left.write_bytes(left.read_bytes()[:-50])
    else:
        save_file(load_file(left), left)
    built = Gallery.build(dataset, retriever, tmp_path, show_progress=False)
    assert_alike(built.embeds["image"], Gallery.from_dataset(dataset, retriever).embeds["image"])


def test_damaged_shards_are_made_anew(tmp_path, caplog):
    dataset, retriever = feature_dataset(25), feature_retriever()
    expected = Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False).embeds["image"]
    (tmp_path / "gallery_config.json").unlink()  # as if it was interrupted before the end
    content = pq.read_metadata(tmp_path / "items-00001.parquet").row_group(0)
    columns = [content.column(number) for number in range(content.num_columns)]
    embeds = next(each for each in columns if each.path_in_schema.startswith("image_embeds"))
    end = embeds.data_page_offset + embeds.total_compressed_size - 60
    flip_a_bit(tmp_path / "items-00001.parquet", end)
    (tmp_path / "items-00002.parquet").write_bytes(b"PAR1")
    built = Gallery.build(dataset, retriever, tmp_path, shard_rows=10, show_progress=False)
    assert_alike(built.embeds["image"], expected)
    assert [record.getMessage().split(" ")[1:3] for record in caplog.records] == [["is", "damaged:"]] * 2
    assert len(Gallery.from_pretrained(tmp_path, retriever=retriever)) == 25


def test_images_that_change_while_they_are_embedded_are_not_taken(tmp_path, monkeypatch, raw):
    (tmp_path / "images").mkdir()
    image_dataset(tmp_path / "images")
    retriever, where = raw, (tmp_path / "images", tmp_path / "gallery")
    encode = retriever.encode_images

    def replaced(images, **options):
        (where[0] / "red.png").write_bytes((where[0] / "green.png").read_bytes())
        return encode(images, **options)

    monkeypatch.setattr(retriever, "encode_images", replaced)
    with pytest.raises(InputError, match="Items of the source changed while they were embedded: build again"):
        Gallery.build(where[0], retriever, where[1], show_progress=False)
    assert not list(where[1].glob("items*"))


def test_a_shard_that_does_not_say_what_it_was_made_of(tmp_path):
    dataset, retriever = feature_dataset(12), feature_retriever()
    Gallery.build(dataset, retriever, tmp_path, show_progress=False)
    shard = tmp_path / "items-00000.parquet"
    table = pq.read_table(shard)
    pq.write_table(table.replace_schema_metadata({b"huggingface": table.schema.metadata[b"huggingface"]}), shard)
    with pytest.raises(InputError, match="does not say of which items it was made: give another folder"):
        Gallery.build(dataset, retriever, tmp_path, show_progress=False)
    assert len(Gallery.from_pretrained(tmp_path, retriever=retriever, verify=False)) == 12


def test_another_gallery_is_not_built_over(tmp_path):
    dataset, retriever = feature_dataset(12), feature_retriever()
    Gallery.build(dataset, retriever, tmp_path / "built", show_progress=False)
    for other in (
        (feature_dataset(12, seed=3), retriever, {}),
        (dataset, feature_retriever(seed=1), {}),
        (dataset, retriever, {"shard_rows": 5}),
    ):
        with pytest.raises(InputError, match="holds another gallery, finished or not: it differs in"):
            Gallery.build(other[0], other[1], tmp_path / "built", show_progress=False, **other[2])
    Gallery.from_dataset(dataset, retriever).save_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="was not built in it"):
        Gallery.build(dataset, retriever, tmp_path / "saved", show_progress=False)
    assert len(Gallery.from_pretrained(tmp_path / "saved", retriever=retriever)) == 12


def test_images_alone(tmp_path, raw):
    (tmp_path / "images").mkdir()
    image_dataset(tmp_path / "images")
    gallery = Gallery.build(tmp_path / "images", raw, tmp_path / "gallery", show_progress=False)
    assert list(gallery.embeds) == ["image"]
    hits = gallery.search(text="red", k=3)
    assert {hit.id for hit in hits} == {f"{name}.png" for name in COLOURS}
    assert hits[0].texts == ()
    assert gallery.search(item="red.png", k=2)[0].id != "red.png"
    with pytest.raises(InputError, match="no texts to find: its target is 'image'"):
        gallery.search(text="red", target="text")
    with pytest.raises(InputError, match="no texts to search by: take 'image'"):
        gallery.search(item="red.png", source="text")
    gallery.save_pretrained(tmp_path / "copy")
    again = Gallery.from_pretrained(tmp_path / "copy", retriever=gallery.retriever)
    assert_hits(again.search(text="red", k=3), hits)


@pytest.mark.parametrize("keep", [True, False])
def test_images_are_copied_or_stay_where_they_are(tmp_path, keep, raw):
    (tmp_path / "images").mkdir()
    dataset = image_dataset(tmp_path / "images")
    gallery = Gallery.build(dataset, raw, tmp_path / "gallery", keep_images=keep, show_progress=False)
    stored = pq.read_table(tmp_path / "gallery" / "items-00000.parquet").column("image")[0].as_py()
    assert (stored["bytes"] is not None) == keep
    assert gallery.image(0).convert("RGB").getpixel((0, 0)) == COLOURS["red"]


def parquet_of_paths(folder, *paths):
    cells = pa.array([{"bytes": None, "path": str(path)} for path in paths], Image.pa_type)
    pq.write_table(pa.table({"image": cells}), folder / "rows.parquet")
    return folder / "rows.parquet"


def test_parquet_files_name_no_files_unless_the_caller_says_where(tmp_path, caplog, raw):
    (tmp_path / "images").mkdir()
    paths = image_files(tmp_path / "images")
    Images.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    rows = parquet_of_paths(tmp_path, *paths, tmp_path / "secret.png", "../secret.png", "http://127.0.0.1:9/a.png")
    with pytest.raises(InputError, match=r"image 1 of 4: .*image_root"):
        Gallery.build(rows, raw, tmp_path / "refused", show_progress=False)
    options = {"image_root": tmp_path / "images", "show_progress": False}
    gallery = Gallery.build(rows, raw, tmp_path / "gallery", **options)
    assert gallery.ids == ["0", "1", "2"]
    assert [item.message.count("no such file") for item in caplog.records if item.levelname == "WARNING"] == [3]
    stored = pq.read_table(tmp_path / "gallery" / "items-00000.parquet").column("image").to_pylist()
    assert [cell["path"] for cell in stored] == ["red.png", "green.png", "blue.png"]


@pytest.fixture
def with_a_bad_one(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(11):
        Images.new("RGB", (20, 20), (20 * i, 50, 90)).save(folder / f"{i:02}.png")
    (folder / "06.png").write_bytes(b"no image at all")
    return folder


def test_a_building_that_embedded_nothing_may_be_asked_for_otherwise(tmp_path, raw):
    (tmp_path / "images").mkdir()
    rows = parquet_of_paths(tmp_path, *image_files(tmp_path / "images"))
    with pytest.raises(InputError, match="image_root"):
        Gallery.build(rows, raw, tmp_path / "gallery", show_progress=False)
    options = {"image_root": tmp_path / "images", "show_progress": False}
    assert len(Gallery.build(rows, raw, tmp_path / "gallery", **options)) == 3


def test_a_strict_building_names_a_bad_image_and_what_came_before_is_kept(tmp_path, with_a_bad_one, raw):
    with pytest.raises(InputError, match=r"06\.png.*Among the items '04.png' to '07.png'"):
        Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", strict=True, show_progress=False)
    assert (tmp_path / "gallery" / "items-00000.partial.safetensors").exists()
    Images.new("RGB", (20, 20)).save(with_a_bad_one / "06.png")
    assert len(Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", strict=True, show_progress=False)) == 11


@pytest.mark.parametrize("shard_rows", [8, 1])  # of one there is a shard without items
def test_bad_images_are_left_out_said_once_and_listed(tmp_path, with_a_bad_one, caplog, shard_rows, raw):
    options = {"shard_rows": shard_rows, "show_progress": False}
    gallery = Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", **options)
    assert gallery.ids == [f"{i:02}.png" for i in range(11) if i != 6]
    assert gallery.search(item="07.png", source="image", target="image", k=9)
    np.testing.assert_allclose(
        gallery.embeds["image"][6], gallery.retriever.encode_images([with_a_bad_one / "07.png"])[0], atol=1e-5
    )
    (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    listed = tmp_path / "gallery" / "unusable.csv"
    assert said.startswith("Left out 1 of 11 items, which cannot be used: '06.png' (is not an image that can be read")
    assert said.endswith(f"All are listed in {listed}.")
    header, row = csv.reader(listed.read_text(encoding="utf-8-sig").splitlines())
    assert (header, row[0]) == (["id", "reason"], "06.png")
    with pytest.raises(InputError, match=r"06\.png"):
        Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", strict=True, **options)
    listed.unlink()  # it is for people
    assert len(Gallery.from_pretrained(tmp_path / "gallery", retriever=raw)) == 10


def test_many_bad_ones_of_every_kind_cost_hardly_more(tmp_path, with_a_bad_one, monkeypatch, raw):
    for i in (0, 3, 4, 10):
        path = with_a_bad_one / f"{i:02}.png"
        path.write_bytes(path.read_bytes()[: 30 * (i > 0)])
    (with_a_bad_one / "nothing.png").symlink_to(with_a_bad_one / "is not there")
    monkeypatch.setattr(gallery_building, "CHUNK_ROWS", 12)
    embedded, encode = [], raw.encode_images
    monkeypatch.setattr(raw, "encode_images", lambda images, **options: embedded.append(len(images)) or encode(images))
    gallery = Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", show_progress=False)
    assert gallery.ids == [f"{i:02}.png" for i in (1, 2, 5, 7, 8, 9)]
    assert embedded[-1] == 6
    assert sum(embedded) <= 12 + 6


def test_items_whose_texts_cannot_be_used_are_left_out_too(tmp_path, raw):
    items = image_dataset(tmp_path)
    texts = [["red"], [], ["blue"]]
    items = items.remove_columns("texts").add_column("texts", texts)
    gallery = Gallery.build(items, raw, tmp_path / "gallery", show_progress=False)
    assert gallery.ids == ["red", "blue"]
    assert "empty list" in (tmp_path / "gallery" / "unusable.csv").read_text(encoding="utf-8-sig")


def test_what_can_be_read_later_is_added(tmp_path, with_a_bad_one, monkeypatch, raw):
    """As photos of phones can once the extra is installed."""
    images = Images.new("RGB", (20, 20))
    images.save(with_a_bad_one / "06.png", "AVIF")
    build = partial(Gallery.build, with_a_bad_one, raw, tmp_path / "gallery", shard_rows=8, show_progress=False)
    with monkeypatch.context() as without:
        without.setattr("PIL.features.check", lambda feature: False)
        assert len(build()) == 10
        assert len(build()) == 10
    assert build().ids == [f"{i:02}.png" for i in range(11)]
    assert not (tmp_path / "gallery" / "unusable.csv").exists()
    assert not list((tmp_path / "gallery").glob("*partial*"))


def test_an_interrupt_forgets_nothing_that_was_left_out(tmp_path, with_a_bad_one, monkeypatch, raw):
    encode = raw.encode_images

    def encode_images(images, **options):
        if any(str(image["path"]).endswith("08.png") for image in images):
            raise KeyboardInterrupt
        return encode(images, **options)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(raw, "encode_images", encode_images)
        with pytest.raises(KeyboardInterrupt):
            Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", show_progress=False)
    gallery = Gallery.build(with_a_bad_one, raw, tmp_path / "gallery", show_progress=False)
    assert gallery.ids == [f"{i:02}.png" for i in range(11) if i != 6]
    assert "06.png" in (tmp_path / "gallery" / "unusable.csv").read_text(encoding="utf-8-sig")


def test_where_nothing_can_be_used_it_says_why_and_may_be_asked_for_otherwise(tmp_path, raw):
    (tmp_path / "images").mkdir()
    for i in range(3):
        (tmp_path / "images" / f"{i}.png").write_bytes(b"no image")
    build = partial(Gallery.build, tmp_path / "images", raw, tmp_path / "gallery", show_progress=False)
    with pytest.raises(InputError, match=r"at least one item, and of 3 none can be used: '0.png' \(is not an image"):
        build(shard_rows=2)
    Images.new("RGB", (20, 20)).save(tmp_path / "images" / "3.png")
    assert build(shard_rows=3).ids == ["3.png"]


def test_images_of_an_archive_are_copied(tmp_path, raw):
    (tmp_path / "images").mkdir()
    image_files(tmp_path / "images")
    archive = shutil.make_archive(tmp_path / "photos", "zip", tmp_path, "images")
    with pytest.raises(InputError, match="Unpack it to refer to its files"):
        Gallery.build(archive, raw, tmp_path / "refused", keep_images=False, show_progress=False)
    Gallery.build(archive, raw, tmp_path / "gallery", show_progress=False)
    gallery = Gallery.build(archive, raw, tmp_path / "gallery", show_progress=False)  # unpacked elsewhere
    assert gallery.ids == ["blue.png", "green.png", "red.png"]
    assert gallery.image(2).getpixel((0, 0)) == COLOURS["red"]


def test_what_is_left_beside_a_complete_shard_goes(tmp_path):
    Gallery.build(feature_dataset(9), feature_retriever(), tmp_path, shard_rows=5, show_progress=False)
    (tmp_path / "gallery_config.json").unlink()
    (tmp_path / "items-00001.partial.safetensors").write_bytes(b"left")
    Gallery.build(feature_dataset(9), feature_retriever(), tmp_path, shard_rows=5, show_progress=False)
    assert not list(tmp_path.glob("*partial*"))


def test_the_folder_is_a_data_set_with_embeddings(tmp_path):
    from datasets import load_dataset

    Gallery.build(feature_dataset(20), feature_retriever(), tmp_path, shard_rows=6, show_progress=False)
    rows = load_dataset("parquet", data_files=str(tmp_path / "items-*.parquet"), split="train")
    assert len(rows) == 20
    assert len(rows[0]["image_embeds"]) == 5
    config = json.loads((tmp_path / "gallery_config.json").read_text())
    assert config["shards"] == 4


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(InputError, match="at least one item"):
        Gallery.build(feature_dataset(4).select([]), feature_retriever(), tmp_path, show_progress=False)
    with pytest.raises(InputError, match="shard_rows is 0"):
        Gallery.build(feature_dataset(4), feature_retriever(), tmp_path, shard_rows=0, show_progress=False)
    with pytest.raises(InputError, match="no images and no texts"):
        Gallery.build(feature_dataset(4).select_columns("id"), feature_retriever(), tmp_path, show_progress=False)
