"""The digest of items changes with what they are, and with nothing else."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from cmr_hub.data.content import ContentDigest, content_digest
from toys import feature_dataset, image_dataset

COLUMNS = {
    "id": ["a", "b", "c"],
    "texts": [["one", ""], [], ["two"]],
    "flag": [True, None, False],
    "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "ragged": [[[1], [2, 3]], None, [[]]],
    "record": [{"x": 1, "y": "z"}, {"x": None, "y": ""}, None],
    "when": [date(2026, 1, 1), None, date(2026, 1, 3)],
}


def of(changes: dict | None = None) -> str:
    return content_digest(Dataset(pa.table(COLUMNS | (changes or {}))))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ["a", "b", "d"]},
        {"id": ["ab", "", "c"]},
        {"id": ["b", "a", "c"]},
        {"texts": [["one"], [""], ["two"]]},
        {"texts": [["one", ""], None, ["two"]]},
        {"flag": [True, False, False]},
        {"vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.5]]},
        {"ragged": [[[1, 2], [3]], None, [[]]]},
        {"ragged": [[[1], [2, 3]], [], [[]]]},
        {"record": [{"x": 1, "y": "z"}, {"x": None, "y": ""}, {"x": None, "y": None}]},
        {"record": [{"x": 2, "y": "z"}, {"x": None, "y": ""}, None]},
        {"when": [date(2026, 1, 1), None, date(2026, 1, 4)]},
        {"more": [1, 2, 3]},
    ],
)
def test_whatever_changes_shows(changes):
    assert of(changes) != of()


def test_pieces_and_columns_in_any_order_make_no_difference():
    whole = Dataset(pa.table(dict(reversed(COLUMNS.items()))))
    pieces = ContentDigest()
    for rows in ([0], [1, 2]):
        pieces.add(Dataset(pa.table(COLUMNS)).select(rows))
    assert pieces.rows == 3
    assert pieces.hexdigest() == content_digest(whole) == of()


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_many_rows(seed):
    items, pieces = feature_dataset(3000), ContentDigest()
    cuts = np.sort(np.random.default_rng(seed).integers(0, 3000, 8)).tolist()
    for start, stop in zip([0, *cuts], [*cuts, 3000], strict=True):
        pieces.add(items.select(range(start, stop)))
    assert pieces.hexdigest() == content_digest(items)


def test_class_names_are_content():
    items = Dataset.from_dict({"label": [0, 1]}, Features({"label": ClassLabel(names=["cat", "dog"])}))
    assert content_digest(items) != content_digest(items.cast_column("label", ClassLabel(names=["dog", "cat"])))
    several = Dataset.from_dict({"labels": [[0, 1]]}, Features({"labels": List(ClassLabel(names=["cat", "dog"]))}))
    assert content_digest(several) != content_digest(several.cast_column("labels", List(Value("int64"))))


def test_images_count_by_their_bytes_wherever_they_lie(tmp_path):
    items = image_dataset(tmp_path)
    digest = content_digest(items)
    paths = [record["path"] for record in items.cast_column("image", Image(decode=False))["image"]]
    copies = [{"bytes": Path(path).read_bytes(), "path": f"other-{number}"} for number, path in enumerate(paths)]
    assert content_digest(items.remove_columns("image").add_column("image", copies, feature=Image())) == digest
    first, second = (Path(path).read_bytes() for path in paths[:2])
    Path(paths[0]).write_bytes(second)
    Path(paths[1]).write_bytes(first)
    assert content_digest(items) != digest


def test_paths_count_where_they_are_stored(tmp_path):
    digests = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        digests.append(ContentDigest(with_paths=True))
        digests[-1].add(image_dataset(tmp_path / folder))
    assert digests[0].hexdigest() != digests[1].hexdigest()


def test_what_is_no_file_does_not_hang_and_shows(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    items = Dataset.from_dict({"image": [str(path), str(tmp_path / "none"), None, "\0"]}, Features({"image": Image()}))
    digest = content_digest(items)
    path.unlink()
    path.write_bytes(b"an image now")
    assert content_digest(items) != digest
