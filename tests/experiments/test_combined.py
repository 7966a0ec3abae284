"""Measuring queries of an image and words by a checkpoint, and the attributes that are kept."""

import json

import pytest

import cmr_hub
from cmr_hub.cli.main import main
from cmr_hub.data import list_datasets, load_dataset
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.evaluation.combined import COMBINED_PROTOCOLS
from cmr_hub.experiments.combined import Attributes, compare_queries, default_attributes, read_attributes
from cmr_hub.experiments.naming import named_in, plain, without_words


def test_names_without_the_words_of_attributes():
    words = {"a man": ["man", "men"], "a woman": ["woman"]}
    assert without_words(plain(["Man: firefighter"]), words).split() == ["firefighter"]
    assert named_in([["woman teacher"], ["two men", "a man"], []], words).tolist() == [
        [False, True],
        [True, False],
        [False, False],
    ]


@pytest.mark.parametrize("dataset", ["emoji", "rsicd"])
def test_attributes_are_kept_of_data_sets_and_ask_by_known_protocols(dataset):
    kept = default_attributes(dataset)
    assert dataset in list_datasets()
    assert set(kept.protocols) <= set(COMBINED_PROTOCOLS)
    assert all(kept.attributes.values())


def test_attributes_that_are_not_kept():
    with pytest.raises(InputError, match=r"No attributes are kept for 'wiki', only for emoji, rsicd.*--attributes"):
        default_attributes("wiki")


def test_attributes_from_a_file(tmp_path):
    path = tmp_path / "asked.yaml"
    path.write_text("protocols: [class-and-attribute]\nattributes:\n  red: [red, crimson]\n")
    assert read_attributes(path) == Attributes(["class-and-attribute"], {"red": ["red", "crimson"]})
    path.write_text("protocols: [class-and-attribute]\nattributes: [red]\n")
    with pytest.raises(InputError, match=r"asked\.yaml"):
        read_attributes(path)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UnknownNameError, match="class-and-attribut"):
        compare_queries(cmr_hub.from_pretrained("cmr/cca-emoji"), load_dataset("emoji"), Attributes(["class-and"], {}))


@pytest.mark.slow
def test_an_image_and_words_find_more_than_either_alone(tmp_path):
    """Of emoji, another gender or colour of the same thing."""
    words = [
        "combined",
        "--checkpoint",
        "cmr/unified-emoji",
        "--dataset",
        "emoji",
        "--json",
        str(tmp_path / "out.json"),
    ]
    assert main(words) == 0
    table, without = json.loads((tmp_path / "out.json").read_text())
    found = {row["title"]: row["metrics"]["map"] for row in table["rows"]}
    assert (table["protocol"], table["queries"], table["gallery"]) == ("name-and-attribute", 80, 1898)
    assert found["image + words"] > found["image alone"] + 0.05
    assert found["image + words"] > found["words alone"] + 0.3
    assert without["protocol"] == "name-without-attribute"
