"""Small files that a quadratic loop would take minutes for: processor time, so that a busy machine changes nothing."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

from cmr_hub.data.captions import read_bars
from cmr_hub.data.iapr_tc12 import read_description
from cmr_hub.data.table import to_pairs
from cmr_hub.errors import DatasetError
from cmr_hub.retrieval.gallery_sources import open_source
from cmr_hub.retrieval.items import Items


@pytest.fixture(autouse=True)
def limited():
    """Linear code takes a tenth of this; what is quadratic many times as much."""
    started = time.thread_time()
    yield
    assert time.thread_time() - started < 5


@pytest.mark.slow
def test_captions_of_one_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [(f"line {i}", {"image": "a.png", "text": f"caption {i % 39_000}"}) for i in range(40_000)]
    pairs, _ = to_pairs(tmp_path / "metadata.csv", rows, tmp_path)
    assert pairs[0].texts == [f"caption {i}" for i in range(39_000)]


def test_a_line_of_blanks_where_a_caption_is_expected(tmp_path):
    (tmp_path / "results.csv").write_text("image_name| comment_number| comment\na" + " " * 200_000)
    with pytest.raises(DatasetError, match="line 2"):
        list(read_bars(tmp_path / "results.csv"))


def test_a_tag_that_never_ends():
    assert read_description("</DESCRIPTION>" + "<DESCRIPTION>" * 40_000) == ""


def test_row_groups_of_one_row(tmp_path):
    table = pa.table({"id": [str(i) for i in range(4_000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    source = open_source(tmp_path / "a.parquet")
    assert len(source.read(0, 4_000)) == 4_000
    firsts = [source.read(start, start + 500)["id"][0] for start in range(0, 4_000, 500)]
    assert firsts == [str(start) for start in range(0, 4_000, 500)]


def test_a_search_among_all_of_many_classes():
    names = [f"class {i}" for i in range(40_000)]
    features = Features({"id": Value("string"), "label": ClassLabel(names=names)})
    items = Items(Dataset.from_dict({"id": ["a", "b"], "label": [3, 39_999]}, features))
    assert items.filter(names).ids.tolist() == [0, 1]
