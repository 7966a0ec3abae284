"""Saved indexes that anybody may have written: options and data are checked before anything is built."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cmr_hub.errors import CheckpointError, CMRError, InputError
from cmr_hub.indexes import INDEXES, load_index
from cmr_hub.indexes.faiss import FaissIndex
from cmr_hub.indexes.quantizers.lattice import SphereLattice

NAMES = ["exact", "hamming", "kd_tree", "lattice", "lsh"]
SEVERAL = [None, True, 0, -1, 1.5, 10**400, float("nan"), "x", "/etc", [], [1], {}, {"a": 1}, 10**9]


def vectors(name: str) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return np.packbits(values > 0, axis=1) if name == "hamming" else values


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    INDEXES[request.param](vectors(request.param), np.arange(50) * 2).save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    return tmp_path


def change_config(folder: Path, **fields: object) -> dict[str, object]:
    path = folder / "index_config.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, **fields}))
    return before


def change_data(folder: Path, change) -> None:
    path = folder / "index.safetensors"
    data = load_file(path)
    change(data)
    save_file(data, path)


@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: repr(value)[:20])
def test_options_of_another_type_are_no_raw_errors(saved, value):
    """Each option in turn; what is harmless may load and search."""
    options = json.loads((saved / "index_config.json").read_text())["options"]
    changes = [{"index": value}, {"options": value}, {"options": {**options, "more": value}}]
    changes += [{"options": {**options, option: value}} for option in options]
    for change in changes:
        before = change_config(saved, **change)
        try:
            index = load_index(saved)
            index.search(vectors(index.name)[:2], 3)
        except CMRError as error:
            assert str(saved) in str(error) or change == {"index": value}  # noqa: PT017  it need not be raised
        change_config(saved, **before)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("vectors"),
        lambda data: data.update(vectors=data["vectors"][:, :-1].copy()),
        lambda data: data.update(vectors=data["vectors"][0].copy()),
        lambda data: data.update(vectors=data["vectors"].astype(np.int64)),
        lambda data: data.update(ids=data["ids"][1:].copy()),
        lambda data: data.update(ids=data["ids"].astype(np.float32)),
        lambda data: data.update(ids=data["ids"] - 50),
        lambda data: data.update(ids=np.zeros_like(data["ids"])),
    ],
    ids=["none", "narrower", "one row", "whole numbers", "fewer ids", "broken ids", "negative ids", "equal ids"],
)
def test_data_of_another_shape_or_type_are_refused(saved, change):
    change_data(saved, change)
    try:
        index = load_index(saved)
    except CheckpointError as error:
        assert str(saved) in str(error)  # noqa: PT017  it need not be raised
    else:  # narrower vectors are vectors, too
        assert index.width == 23 or index.vectors.shape[1] == 2


@pytest.mark.parametrize("scale", [np.nan, np.inf, 34])
@pytest.mark.parametrize("name", ["exact", "kd_tree", "lsh"])
def test_a_vector_that_is_not_of_unit_length_is_refused(name, scale, tmp_path):
    values = vectors(name)
    INDEXES[name](values).save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    values[7] *= np.float32(scale)
    change_data(tmp_path, lambda data: data.update(vectors=values))
    with pytest.raises(CheckpointError, match=r"[rR]ow 7"):
        load_index(tmp_path)


@pytest.mark.parametrize("keep_points", [True, False])
def test_codes_of_no_point_are_refused(keep_points, tmp_path):
    INDEXES["lattice"](vectors("lattice"), keep_points=keep_points).save(tmp_path)
    (tmp_path / "checksums.json").unlink()
    change_data(tmp_path, lambda data: data["vectors"].fill(255))
    with pytest.raises(CheckpointError, match="A code is no number below"):
        load_index(tmp_path)


@pytest.mark.parametrize(("dim", "r2"), [(24, 16_383), (8, 16_383), (512, 79), (10**9, 1)])
def test_a_lattice_that_would_be_listed_for_ever_is_refused(dim, r2):
    with pytest.raises(InputError, match=r"64 bits|dim from 1"):
        SphereLattice(dim, r2)


@pytest.mark.parametrize(
    "factory", ["HNSW1000000", "IVF9999999999,Flat", "OPQ99999_99999,Flat", "Pad1000000,Flat", "IVF8,PQ4x30"]
)
def test_a_factory_that_would_take_gigabytes_is_refused(factory):
    with pytest.raises(InputError, match=r"in the factory .* is more than"):
        FaissIndex(vectors("faiss"), factory=factory)
