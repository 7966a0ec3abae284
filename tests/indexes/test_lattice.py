"""The lattice index against decoding every code and comparing it."""

import shutil

import numpy as np
import pytest
import torch

from cmr_hub import SpreadingVectorsConfig, SpreadingVectorsModel
from cmr_hub.errors import CheckpointError, InputError
from cmr_hub.indexes import load_index
from cmr_hub.indexes.lattice import LatticeIndex
from small_indexes import make, vectors_for


@pytest.fixture
def vectors():
    return vectors_for("lattice", 300)


def slow_scores(index, queries):
    """Cosines of what the catalyser makes of queries with decoded points, one by one."""
    points = index.lattice.decode(index.vectors.reshape(-1, index.lattice.bytes)).reshape(len(index), -1)
    spread = index.catalyser.catalyse(queries)
    return np.array([[q @ p / np.linalg.norm(q) / np.linalg.norm(p) for p in points] for q in spread])


@pytest.mark.parametrize("spheres", [1, 2])
def test_scores_are_cosines_with_decoded_points(tmp_path, vectors, spheres):
    torch.manual_seed(0)
    config = SpreadingVectorsConfig(input_dim=32, hidden_dim=40, output_dim=24 * spheres, spheres=spheres)
    SpreadingVectorsModel(config).save_pretrained(tmp_path)
    index = LatticeIndex(vectors, catalyser=tmp_path)
    assert index.vectors.shape == (300, 8 * spheres)
    scores, ids = index.search(vectors[:20], 300)
    slow = slow_scores(index, vectors[:20])
    np.testing.assert_allclose(scores, np.take_along_axis(slow, ids, 1), atol=1e-5)
    np.testing.assert_allclose(scores, -np.sort(-slow, axis=1), atol=1e-5)


def test_points_kept_or_decoded_at_each_search(vectors):
    kept = make("lattice", vectors)
    codes_alone = LatticeIndex(vectors, **{**kept.options, "keep_points": False})
    np.testing.assert_allclose(kept.search(vectors[:9], 5)[0], codes_alone.search(vectors[:9], 5)[0], atol=1e-6)


def test_many_queries_are_cut_into_blocks(vectors, monkeypatch):
    index = make("lattice", vectors)
    at_once = index.search(vectors, 4)
    monkeypatch.setattr("cmr_hub.indexes.lattice.BLOCK_QUERIES", 7)
    monkeypatch.setattr("cmr_hub.indexes.lattice.BLOCK_ROWS", 50)
    np.testing.assert_allclose(at_once[0], index.search(vectors, 4)[0], atol=1e-6)


def test_width_24_needs_no_catalyser(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(100, 24)).astype(np.float32)
    index = LatticeIndex(vectors, r2=10)
    assert index.vectors.shape == (100, 4)
    index.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checksums.json", "index.safetensors", "index_config.json"]
    np.testing.assert_array_equal(load_index(tmp_path).search(vectors, 1)[1], index.search(vectors, 1)[1])


def test_other_widths_do_and_the_message_says_how(vectors):
    with pytest.raises(InputError, match="cmr train-quantizer --gallery"):
        LatticeIndex(vectors)
    with pytest.raises(InputError, match="takes vectors of width 32"):
        make("lattice", vectors[:, :20])


def test_a_saved_index_needs_no_other_folder(tmp_path, vectors):
    catalyser = tmp_path / "catalyser"
    shutil.copytree(make("lattice", vectors[:1]).options["catalyser"], catalyser)
    index = LatticeIndex(vectors, catalyser=catalyser)
    index.save(tmp_path / "index")
    shutil.rmtree(catalyser)
    again = load_index(tmp_path / "index")
    assert again.options == index.options
    np.testing.assert_array_equal(again.search(vectors, 3)[1], index.search(vectors, 3)[1])
    shutil.rmtree(tmp_path / "index" / "catalyser")
    with pytest.raises(CheckpointError):
        load_index(tmp_path / "index")
