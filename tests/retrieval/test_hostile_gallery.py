"""Galleries that anybody may have written: settings, shards and rows are checked when they are opened."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features

from cmr_hub import Gallery
from cmr_hub.errors import CheckpointError, CMRError
from cmr_hub.retrieval import gallery_checks
from cmr_hub.retrieval.gallery_checks import check_references
from toys import feature_dataset, feature_retriever

SEVERAL = [None, True, -1, 1.5, 10**400, float("nan"), "x", "/etc", [], [1], {}, {"a": 1}, [[[]]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    Gallery.from_dataset(feature_dataset(12), feature_retriever()).save_pretrained(folder)
    (folder / "checksums.json").unlink()
    return folder


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change_settings(folder: Path, **settings: object) -> None:
    path = folder / "gallery_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def change_column(folder: Path, column: str, values: pa.Array) -> None:
    path = folder / "items-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)


def rows(folder: Path) -> np.ndarray:
    column = pq.read_table(folder / "items-00000.parquet").column("image_embeds").combine_chunks()
    return column.flatten().to_numpy().reshape(12, -1).copy()


def as_column(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Gallery.from_pretrained(folder, retriever=feature_retriever())
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("setting", ["name", "index", "index_options", "shards", "retriever", "fingerprint"])
def test_a_setting_of_another_type_is_no_raw_error(saved, setting, value):
    change_settings(saved, **{setting: value})
    try:
        Gallery.from_pretrained(saved, retriever=feature_retriever())
    except CMRError as error:
        assert str(saved) in str(error)  # noqa: PT017  it need not be raised


@pytest.mark.parametrize("shards", [0, -1, 2, 10**9, 10**30])
def test_a_number_of_shards_other_than_that_of_the_files(saved, shards):
    change_settings(saved, shards=shards)
    assert "shards, and there are 1" in refusal(saved)


@pytest.mark.parametrize("options", [{"dtype": 3}, {"dtype": ["float32"]}, {"more": 1}, {"vectors": 1}])
def test_options_that_the_index_does_not_take(saved, options):
    change_settings(saved, index="exact", index_options=options)
    refusal(saved)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 34, 0.9, 1e30])
def test_a_row_that_is_not_of_unit_length_is_named(saved, scale):
    values = rows(saved)
    values[7] *= np.float32(scale)
    change_column(saved, "image_embeds", as_column(values))
    assert "Row 7 of image_embeds" in refusal(saved)


def test_rows_that_models_give_are_opened(saved):
    """Zeros stand for inputs that say nothing, and halves are of nearly unit length."""
    values = rows(saved)
    values[7] = 0
    change_column(saved, "image_embeds", as_column(values.astype(np.float16)))
    assert len(Gallery.from_pretrained(saved, retriever=feature_retriever())) == 12


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.int8])
def test_rows_of_another_type_are_refused(saved, dtype):
    change_column(saved, "image_embeds", as_column(np.ones((12, 5), dtype)))
    assert "float32 or uint8 are expected" in refusal(saved)


@pytest.mark.parametrize("width", [1, 4, 6])
def test_rows_of_another_width_are_refused(saved, width):
    values = np.zeros((12, width), np.float32)
    change_column(saved, "image_embeds", as_column(values))
    assert "image_embeds must be 12 rows" in refusal(saved)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x"] * 12),
        pa.array([[1.0]] * 12),
        pa.array([None] * 12, pa.list_(pa.float32(), 5)),
        pa.array([["x"]] * 12, pa.list_(pa.string(), 1)),
    ],
    ids=["texts", "lists", "nothing", "lists of texts"],
)
def test_embeddings_that_are_none(saved, column):
    change_column(saved, "image_embeds", column)
    refusal(saved)


def test_a_small_file_of_huge_embeddings_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(gallery_checks, "FREE_BYTES", 1000)
    monkeypatch.setattr(gallery_checks, "MAX_RATIO", 2)
    change_column(saved, "image_embeds", as_column(np.zeros((12, 4096), np.float32)))
    assert "bytes of embeddings each" in refusal(saved)


@pytest.mark.parametrize("labels", [[3] * 12, [-2] * 12, [0] * 11 + [10**9], [None] * 12])
def test_a_class_that_does_not_exist_is_named(saved, labels):
    features = Features.from_arrow_schema(pq.read_schema(saved / "items-00000.parquet"))
    assert isinstance(features["label"], ClassLabel)
    change_column(saved, "label", pa.array(labels, pa.int64()))
    assert "and there are 3 classes" in refusal(saved)


def test_items_without_ids_are_refused(saved):
    path = saved / "items-00000.parquet"
    pq.write_table(pq.read_table(path).drop(["id"]), path)
    assert "have no ids" in refusal(saved)


def test_texts_that_are_no_unicode_are_refused(saved):
    broken = pa.Array.from_buffers(pa.string(), 12, pa.array([b"\xe4"] * 12, pa.binary()).buffers())
    path = saved / "items-00000.parquet"
    pq.write_table(pq.read_table(path).append_column("texts", pa.array([[text] for text in ["x"] * 12])), path)
    change_column(saved, "texts", pa.ListArray.from_arrays(pa.array(range(13), pa.int32()), broken))
    assert "UTF8" in refusal(saved)


@pytest.mark.parametrize("metadata", ["{", '{"info": 3}', '{"info": {"features": ' + "[" * 5000 + "]" * 5000 + "}}"])
def test_what_a_shard_says_of_its_columns_is_no_raw_error(saved, metadata):
    path = saved / "items-00000.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    refusal(saved)


def test_a_retriever_that_lies_elsewhere_is_not_read(saved, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    feature_retriever().save_pretrained(elsewhere)
    (saved / "retriever").symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        Gallery.from_pretrained(saved)


@pytest.mark.parametrize(
    "config",
    [
        {"retriever": "/etc", "index_options": {}},
        {"retriever": "./no/such/folder", "index_options": {}},
        {"retriever": "tests", "index_options": {}},
        {"retriever": "cmr/x", "index_options": {"catalyser": "/etc"}},
        {"retriever": "cmr/x", "index_options": {"catalyser": ["a"]}},
    ],
)
def test_a_downloaded_gallery_names_no_files_of_this_machine(config, tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        check_references(config, tmp_path / "gallery_config.json")


def test_a_downloaded_gallery_names_repos(tmp_path):
    check_references({"retriever": "cmr/x", "index_options": {"catalyser": "me/y"}}, tmp_path)
    check_references({"retriever": None, "index_options": {}}, tmp_path)
