from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from cmr_hub.data.labels import class_counts, class_names, describe_few_classes, label_matrix
from cmr_hub.errors import InputError

NAMES = ["cat", "cow", "dog"]


def labelled(**columns):
    kinds = {"label": ClassLabel(names=NAMES), "labels": List(ClassLabel(names=NAMES)), "name": Value("string")}
    return Dataset.from_dict(columns, features=Features({column: kinds[column] for column in columns}))


def test_one_class_an_item():
    dataset = labelled(label=[2, 0, 2])
    assert class_names(dataset) == NAMES
    assert label_matrix(dataset).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert label_matrix(dataset).dtype == "float32"


def test_several_classes_an_item():
    assert label_matrix(labelled(labels=[[0, 2], [], [1]])).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("missing", [None, -1])
def test_an_item_without_a_class_is_named(missing):
    with pytest.raises(InputError, match="Item 1 of the data set has no class in 'label'"):
        label_matrix(labelled(label=[0, missing]))


def test_a_data_set_without_classes_is_named():
    with pytest.raises(InputError, match=r"no classes.*Its columns: name"):
        label_matrix(labelled(name=["a"]))


def test_items_of_each_class():
    assert class_counts(labelled(label=[2, 0, 2, None, -1])) == {"dog": 2, "cat": 1}
    assert class_counts(labelled(labels=[[0, 2], [], [0, 0]])) == {"cat": 2, "dog": 1}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": [1, 1, 1]}, "All 3 items are of the class 'cow'"),
        ({"labels": [[1], [0, 1]]}, "All 2 items are of the class 'cow'"),
        ({"label": [0, 1, 2]}, "No two of the 3 items share a class"),
        ({"labels": [[0, 1], [2], []]}, "No two of the 3 items share a class"),
        ({"label": [0, 1, 1]}, ""),
        ({"label": [0]}, ""),
    ],
)
def test_classes_that_say_little(columns, said):
    found = describe_few_classes(labelled(**columns))
    assert found.startswith(said)
    assert bool(found) == bool(said)
