"""The lattice against the enumeration of all its points, and against faiss' codec of the same lattice."""

from itertools import product

import faiss
import numpy as np
import pytest

from cmr_hub.errors import InputError
from cmr_hub.indexes.quantizers.lattice import SphereLattice

SMALL = [(1, 4), (2, 25), (3, 5), (4, 9), (5, 7)]
PAPER = [(24, 3, 2), (24, 10, 4), (24, 79, 8)]


def all_points(dim, r2):
    largest = int(r2**0.5)
    return np.array([p for p in product(range(-largest, largest + 1), repeat=dim) if sum(x * x for x in p) == r2])


def vectors(n, dim):
    return np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)


@pytest.mark.parametrize(("dim", "r2"), SMALL)
def test_every_point_has_a_number_of_its_own(dim, r2):
    points, lattice = all_points(dim, r2), SphereLattice(dim, r2)
    assert lattice.points == len(points)
    codes = lattice.encode(points)
    np.testing.assert_array_equal(lattice.decode(codes), points)
    numbers = (codes.astype(int) * 256 ** np.arange(lattice.bytes)).sum(axis=1)
    assert sorted(numbers) == list(range(len(points)))


@pytest.mark.parametrize(("dim", "r2"), SMALL)
def test_nearest_is_the_best_of_all(dim, r2):
    asked, points, lattice = vectors(200, dim), all_points(dim, r2), SphereLattice(dim, r2)
    found = lattice.nearest(asked)
    np.testing.assert_allclose((asked * found).sum(axis=1), (asked @ points.T).max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(lattice.decode(lattice.encode(asked)), found)


@pytest.mark.parametrize(("dim", "r2", "size"), PAPER)
def test_as_many_points_and_the_same_nearest_as_faiss(dim, r2, size):
    lattice, theirs = SphereLattice(dim, r2), faiss.ZnSphereCodec(dim, r2)
    assert (lattice.points, len(lattice.atoms), lattice.bytes) == (theirs.nv, theirs.natom, size)
    asked, best = vectors(200, dim), np.empty(dim, np.float32)
    for vector, found in zip(asked, lattice.nearest(asked), strict=True):
        theirs.search(faiss.swig_ptr(vector), faiss.swig_ptr(best))
        np.testing.assert_array_equal(found, best)


@pytest.mark.parametrize(("dim", "r2", "size"), [*PAPER, (32, 36, 8), (40, 24, 8)])
def test_codes_lead_back_to_their_points(dim, r2, size):
    lattice, asked = SphereLattice(dim, r2), vectors(20_000, dim)
    codes = lattice.encode(asked)
    assert (codes.shape, codes.dtype) == ((20_000, size), np.uint8)
    np.testing.assert_array_equal(lattice.decode(codes), lattice.nearest(asked))


def test_length_does_not_matter():
    lattice, asked = SphereLattice(), vectors(50, 24)
    np.testing.assert_array_equal(lattice.encode(asked), lattice.encode(64 * asked))  # a power of two rounds nothing


def test_nothing_to_encode():
    lattice = SphereLattice()
    assert lattice.encode(np.empty((0, 24))).shape == (0, 8)
    assert lattice.decode(np.empty((0, 8), np.uint8)).shape == (0, 24)


@pytest.mark.parametrize(
    ("dim", "r2", "message"),
    [
        (1, 3, "No point"),
        (3, 7, "No point"),
        (48, 79, "more than 64 bits"),
        (0, 4, "dim from 1"),
        (24, 0, "r2 from 1"),
    ],
)
def test_lattices_that_cannot_be(dim, r2, message):
    with pytest.raises(InputError, match=message):
        SphereLattice(dim, r2)


def test_refusals():
    lattice = SphereLattice(3, 5)
    with pytest.raises(InputError, match="width 3"):
        lattice.encode(np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"\(n, 1\) uint8"):
        lattice.decode(np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="below 24"):
        lattice.decode(np.array([[24]], np.uint8))
