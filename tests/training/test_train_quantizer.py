"""Training a catalyser: what it learns from, what it keeps, and that it helps."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from closeness import assert_alike, assert_best_first, assert_figures, assert_trained_alike
from cmr_hub import SpreadingVectorsModel
from cmr_hub.errors import InputError
from cmr_hub.indexes.quantizers.lattice import SphereLattice
from cmr_hub.training.train_quantizer import (
    RUN_NAME,
    QuantizerSettings,
    find_neighbours,
    hard_negatives,
    lattice_recall,
    nearest_rows,
    read_vectors,
    save,
    spread,
    without_itself,
)

SMALL = {"hidden_dim": 32, "output_dim": 8, "r2": 10, "negative_rank": 20, "epochs": 4, "batch_size": 32}


@pytest.fixture(scope="module")
def vectors():
    """Bunched in a few directions, as embeddings are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 16))
    return (centres[rng.integers(10, size=600)] + 0.3 * rng.normal(size=(600, 16)) + 2).astype(np.float32)


@pytest.fixture(scope="module")
def known(vectors):
    return find_neighbours(vectors, QuantizerSettings(**SMALL))


def unit(n, d):
    rows = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_neighbours_without_the_row_itself():
    found = np.array([[0, 2, 1], [2, 1, 0], [1, 0, 3]])  # a copy of row 2 hid it
    assert without_itself(found).tolist() == [[2, 1], [2, 0], [1, 0]]


def test_nearest_rows_by_sorting_everything():
    rows = unit(700, 5)
    assert_best_first(nearest_rows(rows, rows, 4), rows, rows)


def test_negatives_have_their_rank_among_all():
    rows = unit(200, 5)
    negatives = hard_negatives(rows, 50, 200, np.random.default_rng(0))
    for row, negative in enumerate(negatives):
        others = [other for other in np.argsort(-rows @ rows[row]) if other != row]
        assert negative == others[49]


def test_negatives_have_a_rank_in_proportion_among_some():
    rows = unit(400, 5)
    negatives = hard_negatives(rows, 40, 100, np.random.default_rng(0))
    some = np.sort(np.random.default_rng(0).choice(400, 100, replace=False))
    for row, negative in enumerate(negatives):
        others = [other for other in some[np.argsort(-rows[some] @ rows[row])] if other != row]
        assert negative == others[9]


def test_neighbours_by_sorting_everything(vectors, known):
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    everything = np.concatenate([known.base, known.queries])
    assert everything.shape == rows.shape
    where = (everything @ rows.T).argmax(axis=1)
    assert sorted(where) == list(range(len(rows)))
    assert_alike(everything, rows[where])
    assert len(known.queries) == 30
    for row in range(0, len(known.base), 50):
        others = np.delete(np.arange(len(known.base)), row)
        found = np.searchsorted(others, known.neighbours[row])
        assert_best_first(found[None], known.base[others], known.base[row][None])
    assert_best_first(known.nearest[:, None], known.base, known.queries)


def test_recall_by_comparing_decoded_points(vectors, known):
    model, _ = spread(known, QuantizerSettings(**SMALL))
    lattice, base, queries = SphereLattice(8, 10), vectors[:500], vectors[500:]
    nearest = np.argmax(queries @ base.T, axis=1)
    points, asked = lattice.decode(lattice.encode(model.catalyse(base))), model.catalyse(queries)
    ranks = [int((points @ query > points[true] @ query).sum()) for query, true in zip(asked, nearest, strict=True)]
    recall = lattice_recall(model, lattice, base, queries, nearest, [1, 40])
    # Equal scores may come in any order, and codes are shared.
    assert recall[40] <= np.mean(np.array(ranks) < 40) + 1e-9
    assert recall[1] <= recall[40]
    assert recall[40] > 40 / 500


def test_the_best_epoch_is_kept_and_the_same_seed_gives_the_same(vectors, known):
    model, run = spread(known, QuantizerSettings(**SMALL))
    again, other = spread(known, QuantizerSettings(**SMALL))
    recalls = [epoch["recall"] for epoch in run.history]
    assert len(recalls) == 4
    assert recalls[run.best_epoch - 1] == max(recalls)
    assert (run.best_epoch, run.vectors) == (other.best_epoch, other.vectors) == (run.best_epoch, 570)
    for epoch, repeated in zip(run.history, other.history, strict=True):
        assert_figures(epoch, repeated)
    assert_trained_alike(model.catalyse(vectors), again.catalyse(vectors))


def test_koleo_spreads(known):
    bunched, spread_out = (
        spread(known, QuantizerSettings(**SMALL, koleo=koleo))[1].history[-1]["koleo"] for koleo in (0.0, 1.0)
    )
    assert spread_out < bunched


def test_saved_with_its_record(vectors, known, tmp_path):
    model, run = spread(known, QuantizerSettings(**SMALL))
    save(model, run, tmp_path)
    again = SpreadingVectorsModel.from_pretrained(tmp_path)
    assert_alike(model.catalyse(vectors), again.eval().catalyse(vectors))
    assert json.loads((tmp_path / RUN_NAME).read_text())["settings"]["hidden_dim"] == 32


def test_too_few_vectors(vectors):
    with pytest.raises(InputError, match="too few"):
        find_neighbours(vectors[:40], QuantizerSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"held_out": 1.0}, "held_out"),
        ({"spheres": 5}, "24 cannot be cut into 5"),
        ({"koleo": -1.0}, "koleo"),
        ({"output_dim": 48}, "more than 64 bits"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        QuantizerSettings(**settings)


def test_vectors_from_files(vectors, tmp_path):
    np.save(tmp_path / "a.npy", vectors)
    save_file({"x": vectors}, tmp_path / "a.safetensors")
    for name in ("a.npy", "a.safetensors"):
        np.testing.assert_array_equal(read_vectors(path=tmp_path / name), vectors)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 8), np.uint8)}, "real-valued rows"),
        ({"x": np.zeros(4, np.float32)}, "real-valued rows"),
        ({"x": np.array([[0.0], [np.nan]], np.float32)}, "Row 1 of"),
        ({"x": np.zeros((4, 8), np.float32), "y": np.zeros((4, 8), np.float32)}, "2 arrays, not one: x, y"),
    ],
)
def test_files_that_cannot_be_used(arrays, message, tmp_path):
    save_file(arrays, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=message):
        read_vectors(path=tmp_path / "a.safetensors")


def test_files_that_are_not_there_or_nothing_of_the_kind(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    for name in ("a.npy", "b.npy", "b.safetensors"):
        with pytest.raises(InputError, match="cannot be read"):
            read_vectors(path=tmp_path / name)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": "many"}, "batch_size is 'many', and takes a whole number"),
        ({"epochs": 2.5}, "epochs is 2.5, and takes a whole number"),
    ],
)
def test_settings_of_another_type(setting, message):
    with pytest.raises(InputError, match=message):
        QuantizerSettings(**setting)
    assert QuantizerSettings(koleo=0, learning_rate=1).koleo == 0
