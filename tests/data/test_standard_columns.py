"""Data sets as others make them, with the columns that the hub reads."""

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from cmr_hub.data.image_cells import ImageFiles
from cmr_hub.data.labels import class_names, label_matrix
from cmr_hub.data.standard_columns import standardize, standardize_piece
from cmr_hub.errors import InputError
from toys import image_dataset, image_files


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ({"text": ["a", "b"]}, [["a"], ["b"]]),
        ({"Caption": ["a", None]}, [["a"], []]),
        ({"texts": ["a ", " "]}, [["a"], []]),
        ({"caption_0": ["a", "b"], "caption_1": ["c", "NaN"]}, [["a", "c"], ["b"]]),
        ({"sentences": [["a", ""], ["b", "c"]]}, [["a"], ["b", "c"]]),
        ({"caption": ["['a', 'b']", "[sic] c"]}, [["a", "b"], ["[sic] c"]]),
        ({"texts": [["a"], ["b"]], "caption": ["not", "these"]}, [["a"], ["b"]]),
    ],
)
def test_texts_by_other_names_or_alone(columns, texts):
    standard = standardize(Dataset.from_dict(columns))
    assert standard["texts"][:] == texts
    assert standard.features["texts"] == List(Value("string"))


@pytest.mark.parametrize(
    ("label", "names", "ids"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        ([10, 9, 2], ["2", "9", "10"], [2, 1, 0]),
        ([3.0, None, 1.0], ["1", "3"], [1, None, 0]),
        (["3", "3.0", None], ["3"], [0, 0, None]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
    ],
)
def test_classes_without_names(label, names, ids):
    standard = standardize(Dataset.from_dict({"label": label}))
    assert standard.features["label"] == ClassLabel(names=names)
    assert standard["label"][:] == ids


def test_several_classes_and_values_that_are_none():
    standard = standardize(Dataset.from_dict({"labels": [["x", "z"], [], ["z"]], "label": [0.5, 1.0, 0.25]}))
    assert standard.features["labels"] == List(ClassLabel(names=["x", "z"]))
    assert standard["labels"][:] == [[0, 1], [], [1]]
    assert standard.features["label"] == Value("float64")


@pytest.mark.parametrize(
    ("labels", "ids"),
    [
        (["['y', 'x']", "x", None], [[1, 0], [0], []]),
        (["y;x", "x;", "x"], [[1, 0], [0], [0]]),
        (["[10, 9]", "9", "10"], [[1, 0], [0], [1]]),
    ],
)
def test_several_classes_in_a_text(labels, ids, caplog):
    standard = standardize(Dataset.from_dict({"labels": labels}))
    assert standard["labels"][:] == ids
    assert standard.features["labels"].feature.num_classes == 2
    assert not caplog.records


def test_commas_between_classes_are_a_warning(caplog):
    standard = standardize(Dataset.from_dict({"labels": ["x, y", "y"]}))
    assert standard.features["label"].names == ["x, y", "y"]
    assert "The labels 'x, y' are taken for one class." in caplog.text


@pytest.mark.parametrize(
    ("column", "cells", "kind", "expected"),
    [
        ("labels", ["x", "y"], None, "label"),
        ("labels", [1, 0], ClassLabel(names=["y", "x"]), "label"),
        ("labels", [[1], [0]], None, "labels"),
        ("label", [["x"], ["y", "x"]], None, "labels"),
        ("label", [[1], [0, 1]], List(ClassLabel(names=["y", "x"])), "labels"),
    ],
)
def test_the_column_goes_by_how_many_classes_an_item_may_have(column, cells, kind, expected):
    """As many data sets of the Hub call one class per image "labels"."""
    kinds = None if kind is None else Features({column: kind})
    standard = standardize(Dataset.from_dict({column: cells}, features=kinds))
    assert standard.column_names == ["id", expected] or standard.column_names == [expected, "id"]
    assert len(class_names(standard)) == 2
    assert label_matrix(standard)[0].sum() == 1


def test_classes_of_a_piece_stay():
    assert standardize_piece(Dataset.from_dict({"label": ["b"]})).features["label"] == Value("string")


def test_images_by_another_name_as_paths_or_as_records(tmp_path):
    paths = image_files(tmp_path)
    for column, cells in (
        ("img", paths),
        ("image", paths),
        ("image", [{"path": path, "bytes": None} for path in paths]),
    ):
        kinds = Features({"img": Image()}) if column == "img" else None
        standard = standardize(Dataset.from_dict({column: cells}, features=kinds))
        assert isinstance(standard.features["image"], Image)
        assert ImageFiles.of(standard).is_trusted  # still one's own
        records = standard.cast_column("image", Image(decode=False))["image"][:]
        assert [record["path"] for record in records] == paths


def test_ids_are_made_or_become_strings():
    assert standardize(Dataset.from_dict({"text": ["a", "b"]}))["id"][:] == ["0", "1"]
    assert standardize_piece(Dataset.from_dict({"text": ["a", "b"]}), 7)["id"][:] == ["7", "8"]
    assert standardize(Dataset.from_dict({"id": [9, 12]}))["id"][:] == ["9", "12"]
    assert standardize(Dataset.from_dict({"id": [9.0, 12.0]}))["id"][:] == ["9", "12"]


def test_what_has_the_columns_stays_and_nothing_is_copied(tmp_path):
    """A data set of the Hub may have a hundred gigabytes of images."""
    dataset = image_dataset(tmp_path)
    assert standardize(dataset)._fingerprint == dataset._fingerprint
    image_dataset(tmp_path).remove_columns("id").add_column("id", [1, 2, 3]).to_parquet(tmp_path / "a.parquet")
    mapped = datasets.load_dataset("parquet", data_files=str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "c"))
    standard = standardize(mapped["train"])
    assert standard["id"][:] == ["1", "2", "3"]
    assert not ImageFiles.of(standard).is_trusted
    assert standard.cache_files == mapped["train"].cache_files


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "b"], "image": [{"bytes": 1, "path": 2}] * 2}, "image holds no images"),
        ({"id": [[1], [2]]}, "holds no strings and no numbers"),
        ({"id": [1, None]}, "Row 1 has no id"),
    ],
)
def test_columns_that_hold_something_else(columns, message):
    with pytest.raises(InputError, match=message):
        standardize(Dataset.from_dict(columns))
