"""Data sets of the Hub by their repo id, with the columns and splits that people give them."""

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Images

from cmr_hub.data import info, is_available, load_dataset
from cmr_hub.errors import DatasetError, DownloadError, InputError, UnknownNameError


def rows(count, start=0, **columns):
    kinds = {"img": Image(), **columns.pop("kinds", {})}
    values = {name: [make(start + row) for row in range(count)] for name, make in columns.items()}
    images = [Images.new("RGB", (4, 4), (start + row, 0, 0)) for row in range(count)]
    inferred = Dataset.from_dict(values).features if values else {}
    return Dataset.from_dict({"img": images, **values}, features=Features({**inferred, **kinds}))


@pytest.fixture
def repo(monkeypatch):
    """Puts a data set in the place of a download."""

    def put(asked=None, **splits):
        def load(source, config=None, revision=None):
            if asked is not None:
                asked.append((source, config, revision))
            return DatasetDict(splits)

        monkeypatch.setattr(datasets, "load_dataset", load)

    return put


def test_splits_captions_and_classes(repo):
    names = ClassLabel(names=["cat", "dog"])
    part = {"caption": lambda row: f"picture {row}", "label": lambda row: row % 2, "kinds": {"label": names}}
    repo(train=rows(4, **part), val=rows(2, 4, **part), test=rows(3, 6, **part))
    loaded = load_dataset("owner/name")
    assert {split: len(part) for split, part in loaded.items()} == {"train": 4, "validation": 2, "test": 3}
    assert loaded["test"].column_names == ["id", "image", "texts", "label"]
    assert loaded["test"].features["label"].names == ["cat", "dog"]
    first = loaded["test"][0]
    assert (first["id"], first["texts"], first["label"]) == ("test-0", ["picture 6"], 0)
    assert first["image"].getpixel((0, 0)) == (6, 0, 0)


def test_one_split_is_divided_and_a_column_says_how(repo):
    repo(train=rows(60, text=lambda row: f"text {row}"))
    loaded = load_dataset("owner/name")
    assert list(loaded) == ["train", "validation", "test"]
    assert sum(map(len, loaded.values())) == 60
    repo(test=rows(4, text=str, split=lambda row: ["train", "val", "test", "restval"][row]))
    assert {split: len(part) for split, part in load_dataset("owner/name").items()} == dict.fromkeys(loaded, 1)


def test_classes_are_the_texts_where_there_are_none(repo, caplog):
    repo(test=rows(3, label=lambda row: row - 1, kinds={"label": ClassLabel(names=["red fox", "owl"])}))
    loaded = load_dataset("owner/name")
    assert loaded["test"]["texts"][:] == [["red fox"], ["owl"]]
    assert "1 of 3 rows have no text" in caplog.text


def test_its_options_and_a_copy_of_it(repo, tmp_path):
    asked = []
    repo(asked, test=rows(2, text=str))
    load_dataset("owner/name", config="small", revision="v1")
    load_dataset("owner/name", tmp_path)
    assert asked == [("owner/name", "small", "v1"), (str(tmp_path), None, None)]
    with pytest.raises(InputError, match="takes no option labels; its options: config, revision"):
        load_dataset("owner/name", labels=1)
    assert info("owner/name").homepage.endswith("/datasets/owner/name")
    assert not is_available("owner/name")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": str}, r"no column of texts .* and no class labels; its columns are: .*colour"),
        ({"text": str, "second": lambda row: None, "kinds": {"second": Image()}}, "no column of images, or several"),
    ],
)
def test_what_it_lacks_is_named(repo, columns, message):
    repo(test=rows(2, **columns))
    with pytest.raises(DatasetError, match=message):
        load_dataset("owner/name")


def test_a_repo_that_cannot_be_fetched(monkeypatch):
    def load(source, config=None, revision=None):
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{source}' doesn't exist on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DownloadError, match=r"'owner/name' cannot be loaded from the Hub: .*hf auth login"):
        load_dataset("owner/name")
    with pytest.raises(UnknownNameError):
        load_dataset("no name")


def test_classes_as_words_are_the_same_in_all_splits(repo):
    repo(
        train=rows(2, text=str, label=lambda row: "owl", kinds={"label": Value("string")}),
        test=rows(2, text=str, label=lambda row: "fox", kinds={"label": Value("string")}),
    )
    loaded = load_dataset("owner/name")
    assert loaded["train"].features == loaded["test"].features
    assert loaded["train"].features["label"].names == ["fox", "owl"]
