"""What holds for every data set: names, descriptions, availability, errors at the door."""

from __future__ import annotations

import pytest

from cmr_hub import data
from cmr_hub.data.labels import has_labels
from cmr_hub.errors import DatasetError, InputError, UnknownNameError

FOUND_CLASSES = ("folder", "iapr_tc12")  # the data themselves say which there are


def test_every_data_set_describes_itself():
    assert data.list_datasets("w*") == ["wiki"]
    for name in data.list_datasets():
        info = data.info(name)
        assert info.name == name
        assert info.title
        assert info.license
        assert info.how_to_get.endswith(".")
        assert "id" in info.columns
        assert bool(info.classes) == has_labels(info.columns) or name in FOUND_CLASSES
        assert len(set(info.classes)) == len(info.classes)
    assert {name: len(data.info(name).classes) for name in data.list_datasets()} == {
        "emoji": 9,
        "flickr30k": 0,
        "flickr8k": 0,
        "folder": 0,
        "iapr_tc12": 0,
        "mirflickr": 24,
        "mirflickr-dcmh": 24,
        "mscoco": 80,
        "nuswide-10k": 10,
        "nuswide-dcmh": 21,
        "nuswide-tc10": 10,
        "nuswide-tc21": 21,
        "pascal": 20,
        "pascal-dscmr": 20,
        "rsicd": 31,
        "wiki": 10,
        "xmedia": 20,
    }


def test_an_unknown_name_suggests_near_ones():
    for ask in (data.load_dataset, data.info, data.is_available):
        with pytest.raises(UnknownNameError, match=r"no data set named 'pascl'. Did you mean 'pascal'"):
            ask("pascl")


def test_an_option_that_a_data_set_does_not_take():
    with pytest.raises(InputError, match=r"'pascal' takes no option colour; its options: complete_classes"):
        data.load_dataset("pascal", colour="red")
    with pytest.raises(InputError, match=r"'wiki' takes no option colour; its options: train_rows"):
        data.load_dataset("wiki", colour="red")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        data.load_dataset("wiki", tmp_path / "nowhere")


@pytest.mark.parametrize("name", [name for name in data.list_datasets() if name != "emoji"])
def test_a_folder_of_another_layout(name, tmp_path):
    (tmp_path / "readme.txt").write_text("nothing of use")
    assert not data.is_available(name, tmp_path)
    with pytest.raises(DatasetError, match=r"layout|has no metadata.csv"):
        data.load_dataset(name, tmp_path)


def test_emoji_and_folder_say_where_their_data_are(tmp_path):
    with pytest.raises(InputError, match="leave data_dir out"):
        data.load_dataset("emoji", tmp_path)
    with pytest.raises(InputError, match="needs data_dir"):
        data.load_dataset("folder")


def test_available_without_a_download(cache):
    assert data.is_available("emoji")
    assert not any(data.is_available(name) for name in data.list_datasets() if name not in ("emoji", "rsicd"))
    assert not cache.exists()
