import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from cmr_hub.errors import InputError
from cmr_hub.retrieval.item_metadata import ItemMetadata
from cmr_hub.retrieval.items import Items
from toys import COLOURS, image_files

CLASSES = ["sea", "city", "night"]


@pytest.fixture
def items(tmp_path):
    paths = image_files(tmp_path)
    rows = {
        "id": ["a", "b", "c"],
        "image": paths,
        "texts": [["waves"], ["a tower", "lights"], []],
        "labels": [[0], [2, 1], [2]],
    }
    features = Features(
        {
            "id": Value("string"),
            "image": Image(),
            "texts": List(Value("string")),
            "labels": List(ClassLabel(names=CLASSES)),
        }
    )
    return Items(Dataset.from_dict(rows, features))


def test_rows_are_found_by_id(items):
    assert [items.position(item) for item in items.ids] == [0, 1, 2]
    with pytest.raises(InputError, match="no item 'd' in this gallery; its ids look like 'a'"):
        items.position("d")


def test_what_an_item_is(items):
    assert items.texts([1, 2]) == [("a tower", "lights"), ()]
    assert items.labels(1) == ("city", "night")
    assert items.image(0).convert("RGB").getpixel((0, 0)) == next(iter(COLOURS.values()))


def test_one_class_in_common_is_enough(items):
    assert [items.share_a_class(1, other) for other in range(3)] == [False, True, True]


def test_shared_classes_of_many_items(items):
    shared = items.share_classes(np.array([0, 1]), np.array([0, 1, 2, -1]))
    assert shared.tolist() == [[True, False, False, False], [False, True, True, False]]


def test_a_filter_lets_items_of_any_of_the_classes_through(items):
    assert items.filter("night").ids.tolist() == [1, 2]
    both = items.filter(["sea", "city"])
    assert both.ids.tolist() == [0, 1]
    assert both.labels == ("sea", "city")


@pytest.mark.parametrize(
    ("label", "message"), [("snow", "no class 'snow' in this gallery: its classes are sea, city, night"), ([], "none")]
)
def test_a_class_that_is_not_there(items, label, message):
    with pytest.raises(InputError, match=message):
        items.filter(label)


def test_items_of_features_only():
    bare = Items(Dataset.from_dict({"id": ["a", "b"]}))
    assert bare.texts([0, 1]) == [(), ()]
    assert (bare.labels(0), bare.image(0), bare.share_a_class(0, 1)) == ((), None, None)
    assert bare.class_names == []
    assert not bare.share_classes(np.array([0]), np.array([0, 1])).any()
    with pytest.raises(InputError, match="no classes"):
        bare.filter("sea")
    assert ItemMetadata(bare)[0:1] == [{"id": "a", "labels": [], "text": "", "image": ""}]


def test_records_for_an_index_are_read_by_slice(items):
    records = ItemMetadata(items)
    assert len(records) == 3
    first, second = records[1:9]
    assert (first["id"], first["labels"], first["text"]) == ("b", ["city", "night"], "a tower\nlights")
    assert second["text"] == ""
    assert first["image"].endswith(".png")
