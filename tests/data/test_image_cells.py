"""Data sets from elsewhere name files and URLs that nobody opens, unless the caller says where they may be."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value, Video
from PIL import Image as Images

from cmr_hub.data import load_dataset
from cmr_hub.data.columns import read_column
from cmr_hub.data.image_cells import ImageFiles, plain_features, resolve_images
from cmr_hub.errors import InputError


@pytest.fixture
def private(tmp_path):
    """A picture that is none of the data set's business."""
    folder = tmp_path / "private"
    folder.mkdir()
    Images.new("RGB", (4, 4), "red").save(folder / "secret.png")
    return folder / "secret.png"


def from_elsewhere(folder, *paths, **options):
    """A data set mapped from a Parquet file whose cells name files."""
    table = pa.table({"image": pa.array([{"bytes": None, "path": str(path)} for path in paths], Image.pa_type)})
    table = table.replace_schema_metadata(Features({"image": Image()}).arrow_schema.metadata)
    pq.write_table(table, folder / "rows.parquet")
    return Dataset.from_parquet(str(folder / "rows.parquet"), cache_dir=str(folder / "cache"), **options)


@pytest.mark.parametrize(
    "name",
    [
        "{private}",
        "file://{private}",
        "zip://secret.png::{private}",
        "http://127.0.0.1:9/secret.png",
        "hf://datasets/me/mine/secret.png",
        "../private/secret.png",
        "private/secret.png",
    ],
)
def test_a_mapped_data_set_may_name_no_file(tmp_path, private, name):
    dataset = from_elsewhere(tmp_path, name.format(private=private))
    with pytest.raises(
        InputError, match=r"image 1 of 1: the data set does not hold the image, but names .*image_root"
    ):
        read_column(dataset, "image")


@pytest.mark.parametrize(
    "name",
    [
        "{private}",
        "file://{private}",
        "zip://secret.png::{private}",
        "http://127.0.0.1:9/secret.png",
        "../private/secret.png",
        "link.png",
        "folder.png",
        "a\0b",
        "x" * 5000,
        "",
    ],
)
def test_with_a_root_it_may_name_the_files_in_it_alone(tmp_path, private, name):
    root = tmp_path / "root"
    (root / "folder.png").mkdir(parents=True)
    (root / "link.png").symlink_to(private)
    Images.new("RGB", (4, 4), "blue").save(root / "mine.png")
    files = ImageFiles.of_folder(root)
    for mine in ("mine.png", str(root / "mine.png")):
        assert files.check({"bytes": None, "path": mine}) == {"bytes": None, "path": str(root / "mine.png")}
    with pytest.raises(InputError, match=f"there is no such file in {root}"):
        files.check({"bytes": None, "path": name.format(private=private)})


def test_resolved_images_are_ones_own(tmp_path, private):
    dataset = resolve_images(from_elsewhere(tmp_path, "secret.png"), private.parent)
    assert read_column(dataset, "image") == [{"bytes": None, "path": str(private)}]
    assert dataset[0]["image"].size == (4, 4)
    with pytest.raises(InputError, match=r"image 2 of 2: the data set names the file 'other\.png'"):
        resolve_images(from_elsewhere(tmp_path, "secret.png", "other.png"), private.parent)


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(InputError, match="no folder 'nowhere'"):
        resolve_images(from_elsewhere(tmp_path, "a.png"), "nowhere")


def test_bytes_need_no_root_and_their_path_is_only_a_name(tmp_path, private):
    cell = {"bytes": b"content", "path": str(private)}
    assert ImageFiles().check(cell) == cell
    assert ImageFiles().check(None) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows,
        lambda rows: rows.select([0]),
        lambda rows: rows.shuffle(seed=0),
        lambda rows: rows.cast_column("image", Image(decode=False)).filter(bool),
        lambda rows: rows.add_column("id", ["a", "b"]),
        lambda rows: datasets.concatenate_datasets([rows, rows]),
    ],
)
def test_what_the_callers_code_made_in_memory_may_name_any_file(tmp_path, private, change):
    rows = Dataset.from_dict({"image": [str(private)] * 2}, Features({"image": Image()}))
    assert read_column(change(rows), "image")[0] == {"bytes": None, "path": str(private)}
    mapped = change(from_elsewhere(tmp_path, private, private))
    assert not ImageFiles.of(mapped).is_trusted


def test_a_mapped_data_set_read_into_memory_is_still_from_elsewhere(tmp_path, private):
    dataset = from_elsewhere(tmp_path, private, keep_in_memory=True)
    assert not dataset.cache_files
    assert not ImageFiles.of(dataset).is_trusted


def test_the_loaders_own_data_sets_are_trusted():
    assert ImageFiles.of(load_dataset("emoji")["train"]).is_trusted


def test_nothing_but_classes_and_images_is_taken_over_from_what_a_file_says():
    said = Features(
        {
            "id": Audio(),
            "image": Image(mode="L"),
            "texts": List(Image()),
            "clip": Video(),
            "label": ClassLabel(names=["cat", "dog"]),
            "labels": List(ClassLabel(names=["cat", "dog"])),
            "image_features": List(Value("float32"), length=3),
        }
    )
    plain = plain_features(said.arrow_schema)
    kept = {name: plain[name] for name in ("image", "label", "labels", "image_features")}
    assert kept == {**{name: said[name] for name in kept}, "image": Image(decode=False)}
    record = {"bytes": Value("binary"), "path": Value("string")}
    assert {name: plain[name] for name in ("id", "texts", "clip")} == {
        "id": record,
        "texts": List(record),
        "clip": record,
    }


@pytest.mark.parametrize(
    "said", [b"junk", b"5", b'{"info": {"features": {"id": {"_type": "Nothing"}}}}', b'{"info": ' + b"[" * 10**5]
)
def test_a_file_that_says_nonsense_of_its_columns(said):
    schema = pa.schema({"id": pa.string()}, metadata={b"huggingface": said})
    with pytest.raises(InputError, match="types of the columns id cannot be read"):
        plain_features(schema)


def test_stored_cells_hold_the_file_and_only_its_name(tmp_path, private):
    cells = pa.chunked_array([pa.array([{"bytes": None, "path": str(private)}, None], Image.pa_type)])
    copied = ImageFiles(private.parent).store(cells, copy=True).to_pylist()
    assert copied == [{"bytes": private.read_bytes(), "path": "secret.png"}, None]
    named = ImageFiles(is_trusted=True).store(cells, copy=False).to_pylist()
    assert named == [{"bytes": None, "path": str(private)}, None]


def test_nothing_but_images_is_copied(tmp_path):
    (tmp_path / "passwords.txt").write_text("hunter2")
    cells = pa.chunked_array([pa.array([{"bytes": None, "path": "passwords.txt"}], Image.pa_type)])
    with pytest.raises(InputError, match=r"image 1 of 1: .*passwords\.txt is not an image"):
        ImageFiles(tmp_path).store(cells, copy=True)
