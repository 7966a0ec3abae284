import numpy as np
import pytest
from datasets import Dataset, Features

from cmr_hub.data.base import TEXTS
from cmr_hub.data.columns import column_of, read_column
from cmr_hub.errors import InputError
from toys import feature_dataset, image_dataset, image_files


def test_the_column_follows_what_the_encoder_takes(tmp_path):
    assert column_of(image_dataset(tmp_path), "image", accepts_raw_input=True) == "image"
    assert column_of(feature_dataset(3), "text", accepts_raw_input=False) == "text_features"


@pytest.mark.parametrize(
    ("modality", "accepts_raw_input", "column"), [("image", True, "image"), ("text", True, "texts")]
)
def test_a_missing_column_is_named_with_those_there_are(modality, accepts_raw_input, column):
    with pytest.raises(InputError, match=f"in a column '{column}'; this data set has only id, image_features"):
        column_of(feature_dataset(3), modality, accepts_raw_input)


def test_images_are_read_without_decoding(tmp_path):
    records = read_column(image_dataset(tmp_path), "image")
    assert [record["path"] for record in records] == image_files(tmp_path)


def test_texts_stay_sets(tmp_path):
    assert read_column(image_dataset(tmp_path), "texts")[0] == ["a red square", "red paint"]


def test_missing_texts_are_left_out():
    dataset = Dataset.from_dict({"texts": [["a cat", None], None, [None]]}, Features({"texts": TEXTS}))
    assert read_column(dataset, "texts") == [["a cat"], [], []]
    assert read_column(Dataset.from_dict({"texts": ["a cat"]}), "texts") == ["a cat"]


def test_features_are_one_array():
    dataset = feature_dataset(5)
    rows = read_column(dataset, "image_features")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.array(dataset["image_features"][:]), rtol=1e-6)
