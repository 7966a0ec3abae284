"""Sources of galleries give the same items whatever they are read from, and whatever piece is asked for."""

import gc
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image

from cmr_hub.data.columns import read_column
from cmr_hub.errors import DatasetError, InputError
from cmr_hub.retrieval import gallery_sources
from cmr_hub.retrieval.gallery_sources import open_source
from cmr_hub.utils.images import load_image
from toys import COLOURS, feature_dataset, image_dataset


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """100 items in three files of several row groups."""
    monkeypatch.setattr(gallery_sources, "READ_ROWS", 4)
    dataset = feature_dataset(100)
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, (start, stop) in enumerate([(0, 37), (37, 38), (38, 100)]):
        table = dataset.select(range(start, stop)).with_format("arrow")[:]
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=10)
    return dataset, folder


@pytest.mark.parametrize("pieces", [[(0, 100)], [(0, 7), (7, 50), (50, 100)], [(36, 39), (5, 6), (95, 120), (0, 3)]])
def test_any_piece_of_parquet_files(shards, pieces):
    dataset, folder = shards
    source = open_source(folder)
    assert len(source) == 100
    assert source.features == dataset.features
    for start, stop in pieces:
        piece = source.read(start, stop)
        assert piece["id"][:] == dataset["id"][start:stop]
        np.testing.assert_array_equal(piece["image_features"][:], dataset["image_features"][start:stop])


def test_pieces_in_a_row_are_read_once(shards, monkeypatch):
    _, folder = shards
    source = open_source(folder)
    opened = []
    parquet_file = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path: opened.append(path.name) or parquet_file(path))
    for start in range(0, 100, 9):
        source.read(start, start + 9)
    assert opened == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]


def test_parquet_of_other_makers(tmp_path):
    """Images as paths, numbers as ids, or no ids."""
    images = image_dataset(tmp_path)
    paths = [record["path"] for record in images.cast_column("image", Image(decode=False))["image"]]
    pq.write_table(pa.table({"id": [3, 4, 5], "image": paths}), tmp_path / "a.parquet")
    items = open_source(tmp_path / "a.parquet").read(1, 3)
    assert items["id"][:] == ["4", "5"]
    assert items["image"][:] == [{"bytes": None, "path": path} for path in paths[1:]]
    pq.write_table(pa.table({"image": paths}), tmp_path / "b.parquet")
    assert open_source(tmp_path / "b.parquet").read(1, 3)["id"][:] == ["1", "2"]


def test_a_folder_of_images_alone(tmp_path):
    (tmp_path / "deep").mkdir()
    image_dataset(tmp_path / "deep")
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path)
    assert source.read(0, 3)["id"][:] == ["deep/blue.png", "deep/green.png", "deep/red.png"]
    assert set(source.features) == {"id", "image"}
    assert source.read(2, 3)[0]["image"].convert("RGB").getpixel((0, 0)) == COLOURS["red"]


def test_files_of_systems_are_no_items(tmp_path):
    """As a folder looks that was copied from a Mac and opened on Windows."""
    image_dataset(tmp_path)
    pq.write_table(pa.table({"texts": [["a"]]}), tmp_path / "._a.parquet")
    for name in ("._red.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert open_source(tmp_path).read(0, 9)["id"][:] == ["blue.png", "green.png", "red.png"]


def test_image_files_by_their_paths(tmp_path):
    image_dataset(tmp_path)
    source = open_source(tmp_path.glob("*e*.png"))
    assert sorted(source.read(0, 9)["id"]) == ["blue.png", "green.png", "red.png"]
    assert source.folder_of_images() == tmp_path
    assert open_source(tmp_path / "red.png").read(0, 1)["id"][:] == ["red.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8(tmp_path):
    """As of a file from a Windows in another script."""
    image_dataset(tmp_path)
    os.rename(tmp_path / "red.png", os.fsencode(tmp_path) + b"/\xba\xec.png")
    source = open_source(tmp_path)
    items = source.read(0, 3)
    assert items["id"][:] == ["blue.png", "green.png", "\\xba\\xec.png"]
    assert (
        load_image(read_column(items, "image", image_files=source.image_files)[2]).getpixel((0, 0)) == COLOURS["red"]
    )


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz"])
def test_an_archive(tmp_path, name):
    (tmp_path / "photos").mkdir()
    image_dataset(tmp_path / "photos")
    shutil.make_archive(
        tmp_path / "photos", {"zip": "zip", "gz": "gztar"}[name.rpartition(".")[2]], tmp_path, "photos"
    )
    source = open_source(tmp_path / name)
    items = source.read(0, 3)
    images = read_column(items, "image", image_files=source.image_files)
    assert items["id"][:] == ["blue.png", "green.png", "red.png"]
    assert load_image(images[2]).getpixel((0, 0)) == COLOURS["red"]
    folder = Path(images[0]["path"]).parents[1]
    assert folder.is_dir()
    del source
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b"x"}, r"^\S+photos\.zip has no Parquet files and no images"),
        (
            {"in/a.png": b"x", "in/metadata.csv": b"file_name,text\nb.png,B\n"},
            r"photos\.zip: metadata\.csv: 1 of 1 images",
        ),
        ({"x" * 300 + ".png": b"x"}, r"photos\.zip cannot be unpacked: File name too long: xxx.*under another name"),
        ({"a": b"x", "a/b.png": b"x"}, r"photos\.zip cannot be unpacked: .*: a\. Pack it again, that file"),
    ],
)
def test_errors_name_the_archive_and_not_where_it_was_unpacked(tmp_path, files, message):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises((DatasetError, InputError), match=message) as caught:
        open_source(tmp_path / "photos.zip")
    assert "cmr-archive" not in str(caught.value)


def test_an_archive_of_a_folder_with_a_table(tmp_path):
    image_dataset(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,text\nred.png,a red square\nblue.png,paint\n")
    path = shutil.make_archive(tmp_path.parent / "table", "zip", tmp_path.parent, tmp_path.name)
    assert sorted(open_source(path).read(0, 2)["texts"]) == [["a red square"], ["paint"]]


def test_a_folder_of_images_by_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    image_dataset(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    source = open_source("images")
    images = read_column(source.read(0, 3), "image", image_files=source.image_files)
    assert [load_image(image).getpixel((0, 0)) for image in images] == [COLOURS[n] for n in ("blue", "green", "red")]


def test_a_folder_with_a_table(tmp_path):
    image_dataset(tmp_path)
    rows = "".join(f"{name}.png,a {name} square\n" for name in COLOURS)
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{rows}")
    source = open_source(str(tmp_path))
    assert sorted(source.read(0, 3)["id"]) == sorted(f"{name}.png" for name in COLOURS)
    assert "texts" in source.features


def test_a_data_set_without_ids_is_numbered():
    assert open_source(Dataset.from_dict({"texts": [["a"], ["b"]]})).read(0, 2)["id"][:] == ["0", "1"]


def test_links_out_of_a_folder_of_images_are_refused(tmp_path):
    (tmp_path / "private").mkdir()
    image_dataset(tmp_path / "private")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "private" / "red.png")
    source = open_source(tmp_path / "images")
    with pytest.raises(InputError, match=f"no such file in {tmp_path / 'images'}"):
        read_column(source.read(0, 1), "image", image_files=source.image_files)


def test_an_image_column_that_holds_no_images(tmp_path):
    cells = pa.array([{"bytes": 5, "path": 6}])
    pq.write_table(pa.table({"id": ["a"], "image": cells}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="image holds no images"):
        open_source(tmp_path / "a.parquet")


def test_what_is_no_source(tmp_path):
    with pytest.raises(InputError, match="no Parquet files and no images"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="no file and no folder"):
        open_source(tmp_path / "nothing")
    with pytest.raises(InputError, match="list of files is empty"):
        open_source([])
    with pytest.raises(InputError, match="is a folder: give one alone"):
        open_source([tmp_path, tmp_path])
    (tmp_path / "photos.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"photos\.rar cannot be read as Parquet: .* an archive of images \(\.zip"):
        open_source(tmp_path / "photos.rar")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"junk\.parquet cannot be read as Parquet"):
        open_source(tmp_path)
    for name, column in (("a", "id"), ("b", "other")):
        pq.write_table(pa.table({column: ["x"]}), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"b\.parquet has the columns"):
        open_source([tmp_path / "a.parquet", tmp_path / "b.parquet"])
