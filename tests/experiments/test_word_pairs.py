"""The comparison of vectorisers on word pairs, with the real encoders."""

import pytest
from datasets import Dataset, DatasetDict, Features, List, Value
from PIL import Image

from cmr_hub.cli.main import main as cmr
from cmr_hub.data import list_datasets
from cmr_hub.encoders import create_encoder, list_encoders
from cmr_hub.errors import InputError
from cmr_hub.experiments.word_pairs import (
    VECTORISERS,
    WordPairTable,
    compare_vectorisers,
    cosines,
    default_pairs,
    draw,
    parse_pairs,
)
from cmr_hub.utils.plots import save

REGISTERED = {title: spec for title, spec in VECTORISERS.items() if spec[0] in list_encoders("text")}
PAIRS = [("cat", "dog"), ("cat", "cat"), ("cat", "qwxzkvq")]


@pytest.fixture
def train():
    texts = [["a cat sits", "a dog runs"], ["the qwxzkvq and the cat"]]
    return Dataset.from_dict({"texts": texts}, features=Features({"texts": List(Value("string"))}))


def test_cosines_are_those_of_the_vectors():
    encoder = create_encoder("text", "glove")
    a, b = encoder.encode(["cat", "dog"]).tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    expected = dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    assert cosines(encoder, [("cat", "dog")]) == pytest.approx([expected], abs=1e-5)


def test_only_vectors_that_are_learned_find_different_words_alike(train):
    table = compare_vectorisers(train, PAIRS, REGISTERED)
    assert set(table.cosines) >= {"BoW", "GloVe"}
    assert table.cosines["BoW"] == pytest.approx([0, 1, 0])
    assert 0.5 < table.cosines["GloVe"][0] < 1
    assert table.cosines["GloVe"][1] == pytest.approx(1)


def test_a_word_that_a_vectoriser_lacks_has_no_cosine(train):
    table = compare_vectorisers(train, [*PAIRS, ("cat", "aardvark")], REGISTERED)
    assert table.cosines["GloVe"][2] is None
    assert table.cosines["BoW"][3] is None
    assert table.cosines["GloVe"][3] is not None


def test_the_table_ends_in_the_mean_of_what_is_known():
    table = WordPairTable(
        [("a", "b"), ("sea", "lake")], {"BoW": [0.0, 0.5], "GloVe": [None, 0.75], "none": [None] * 2}
    )
    assert str(table).splitlines() == [
        "                  BoW      GloVe       none",
        "a / b           0.000          –          –",
        "sea / lake      0.500      0.750          –",
        "mean            0.250      0.750          –",
    ]


def test_the_figure_is_an_image(tmp_path):
    table = WordPairTable(PAIRS, {"BoW": [0.0, 1.0, None], "GloVe": [0.9, 1.0, -0.2]})
    save(draw(table), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > image.height > 300
        assert len(image.convert("RGB").getcolors(2**24)) > 10  # bars and letters, not a blank sheet


def test_pairs_are_written_with_a_colon():
    assert parse_pairs(["cat:dog", "ice cream : cake"]) == [("cat", "dog"), ("ice cream", "cake")]
    for written in ("cat", "cat:", "a:b:c"):
        with pytest.raises(InputError, match=f"WORD:WORD, not '{written}'"):
            parse_pairs([written])


@pytest.mark.parametrize("name", ["emoji", "pascal", "rsicd"])
def test_default_pairs(name):
    assert name in list_datasets()
    assert len(default_pairs(name)) >= 5


def test_a_data_set_without_default_pairs_says_what_to_do():
    with pytest.raises(InputError, match=r"No word pairs are kept for 'folder'.*--pairs"):
        default_pairs("folder")


def test_a_data_set_without_texts_is_refused():
    features = Dataset.from_dict({"text_features": [[0.0, 1.0]]})
    with pytest.raises(InputError, match="'texts'"):
        compare_vectorisers(features, PAIRS, REGISTERED)


def test_the_command(train, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("cmr_hub.data.load_dataset", lambda name, folder: DatasetDict(train=train))
    monkeypatch.setattr("cmr_hub.experiments.word_pairs.VECTORISERS", REGISTERED)
    figure = tmp_path / "figure.png"
    words = ["word-pairs", "--dataset", "emoji", "--pairs", "cat:dog", "--output", str(figure)]
    with caplog.at_level("INFO"):
        assert cmr(words) == 0
    assert "cat / dog" in caplog.text
    assert figure.stat().st_size > 1000
