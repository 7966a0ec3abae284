"""Codes for directions: the points of Z^d on a sphere, numbered (Sablayrolles et al., ICLR 2019, section 4).

All points of one squared norm r2 fall into classes that differ by order and signs only. A class is known by its atom,
the point whose coordinates are sorted and not negative: of [0, -2, 1] it is [2, 1, 0]. A vector is sorted likewise to
find the atom that it has the largest inner product with; undoing the sort gives the nearest point. A point's number
is the first number of its class, plus the rank of its order among the orders of the atom's coordinates, times the
number of signs, plus its signs read as a binary number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import factorial, isqrt, prod

import numpy as np

from cmr_hub.errors import InputError

BLOCK_ROWS = 1 << 14
MAX_DIM = 512
MAX_ATOMS = 20_000  # a vector is compared with each; in 24 dimensions r2 = 79 has 256
_LARGEST = 2**64


class SphereLattice:
    """The points of Z^dim with squared norm `r2`, as a codebook on the sphere that nothing was learned for.

    Args:
        dim: of a vector. In 24 dimensions r2 = 3, 10 and 79 give codes of 2, 4 and 8 bytes.
        r2: squared norm of the points.

    Attributes:
        atoms: `(a, dim)` int8, coordinates falling and none negative; in falling order themselves.
        sizes: how many points each atom's class has.
        points: how many there are in all.
        bytes: of a code, the fewest that numbers up to `points` fit into.

    Raises:
        InputError: no point has this norm, or there are more than 64 bits can number.

    Example:
    ```python
    >>> lattice = SphereLattice(dim=3, r2=5)
    >>> lattice.atoms.tolist(), lattice.points, lattice.bytes
    ([[2, 1, 0]], 24, 1)
    >>> codes = lattice.encode(np.array([[0.1, -0.9, 0.4]]))
    >>> codes.shape, lattice.decode(codes).tolist()
    ((1, 1), [[0, -2, 1]])
    ```
    """

    def __init__(self, dim: int = 24, r2: int = 79):
        if not 1 <= dim <= MAX_DIM or not 1 <= r2 < 128**2:
            raise InputError(
                f"A lattice needs dim from 1 to {MAX_DIM} and r2 from 1 to {128**2 - 1}, not {dim} and {r2}."
            )
        self.dim, self.r2, self.points = dim, r2, 0
        self.sizes: list[int] = []
        atoms: list[tuple[int, ...]] = []
        orders: list[int] = []
        signs: list[int] = []
        for atom in _atoms(dim, r2, isqrt(r2)):
            order = factorial(dim) // prod(factorial(atom.count(value)) for value in set(atom))
            sign = 2 ** sum(value > 0 for value in atom)
            self.points += order * sign
            # The ranks' arithmetic multiplies a number of orders with a position. Of a large lattice the atoms alone
            # would be too many to go through.
            if self.points > _LARGEST or order * dim >= _LARGEST or len(atoms) >= MAX_ATOMS:
                raise InputError(
                    f"The points in {dim} dimensions with r2 {r2} are more than 64 bits can number, or fall into more "
                    f"than {MAX_ATOMS:,} classes: choose a smaller r2, or cut vectors into parts."
                )
            atoms.append(atom)
            orders.append(order)
            signs.append(sign)
            self.sizes.append(order * sign)
        if not atoms:
            raise InputError(f"No point of {dim} whole coordinates has the squared norm {r2}: choose another r2.")
        self.atoms = np.array(atoms, np.int8)
        self.bytes = max(1, -(-(self.points - 1).bit_length() // 8))
        self._orders = np.array(orders, np.uint64)
        self._signs = np.array(signs, np.uint64)
        starts = [sum(self.sizes[:row]) for row in range(len(self.sizes))]
        self._starts = np.array(starts, np.uint64)

    def nearest(self, vectors: np.ndarray) -> np.ndarray:
        """The points nearest to `(n, dim)` vectors by angle, `(n, dim)` int8; of equally near ones any.

        Raises:
            InputError: vectors of another width.
        """
        return self._blockwise(self._nearest, self._checked(vectors), np.empty((0, self.dim), np.int8))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """The numbers of the points nearest to `(n, dim)` vectors, `(n, bytes)` uint8, lowest byte first.

        Raises:
            InputError: vectors of another width.
        """
        empty = np.empty((0, self.bytes), np.uint8)
        return self._blockwise(self._encoded, self._checked(vectors), empty)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The points `(n, dim)` int8 that `(n, bytes)` uint8 codes are the numbers of.

        Raises:
            InputError: codes of another width, or a number that no point has.
        """
        self.check_codes(codes)
        return self._blockwise(self._decoded, codes, np.empty((0, self.dim), np.int8))

    def check_codes(self, codes: np.ndarray) -> None:
        """Refuse what are no codes of this lattice.

        Raises:
            InputError: codes of another width, or a number that no point has.
        """
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.bytes:
            raise InputError(
                f"Codes of this lattice are (n, {self.bytes}) uint8, not {codes.shape} {codes.dtype}: give the "
                "settings that they were made with."
            )
        if self.points == _LARGEST:
            return
        for start in range(0, len(codes), BLOCK_ROWS):
            if (_numbers(codes[start : start + BLOCK_ROWS]) >= np.uint64(self.points)).any():
                raise InputError(f"A code is no number below {self.points}: it was made with another lattice.")

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise InputError(f"This lattice takes vectors of width {self.dim}, not of the shape {vectors.shape}.")
        return vectors

    @staticmethod
    def _blockwise(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, empty: np.ndarray) -> np.ndarray:
        blocks = [function(rows[start : start + BLOCK_ROWS]) for start in range(0, len(rows), BLOCK_ROWS)]
        return np.concatenate(blocks) if blocks else empty

    def _nearest(self, vectors: np.ndarray) -> np.ndarray:
        return self._nearest_with_atoms(vectors)[0]

    def _encoded(self, vectors: np.ndarray) -> np.ndarray:
        return self._numbered(*self._nearest_with_atoms(vectors))

    def _nearest_with_atoms(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest points, and the rows of their atoms."""
        sizes = np.abs(vectors.astype(np.float32, copy=False))
        falling = np.argsort(-sizes, axis=1)
        chosen = (np.take_along_axis(sizes, falling, axis=1) @ self.atoms.T.astype(np.float32)).argmax(axis=1)
        points = np.empty(vectors.shape, np.int8)
        np.put_along_axis(points, falling, self.atoms[chosen], axis=1)
        np.negative(points, out=points, where=vectors < 0)
        return points, chosen

    def _numbered(self, points: np.ndarray, atoms: np.ndarray) -> np.ndarray:
        """Codes of points of known atoms."""
        columns = np.ascontiguousarray(points.T)  # a coordinate of all points lies together
        numbers = _rank(np.abs(columns))
        for column in columns:
            numbers = np.where(column != 0, 2 * numbers + (column < 0).astype(np.uint64), numbers)
        numbers += self._starts[atoms]
        return numbers.astype("<u8").view(np.uint8).reshape(-1, 8)[:, : self.bytes].copy()

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        numbers = _numbers(codes)
        atoms = np.searchsorted(self._starts, numbers, side="right") - 1
        ranks, signs = np.divmod(numbers - self._starts[atoms], self._signs[atoms])
        columns = _unrank(ranks, self.atoms[atoms], self._orders[atoms])
        for column in columns[::-1]:  # the last coordinate's sign is the lowest bit
            present = column != 0
            np.negative(column, out=column, where=present & (signs % 2 == 1))
            signs = np.where(present, signs // 2, signs)
        return np.ascontiguousarray(columns.T)


def _numbers(codes: np.ndarray) -> np.ndarray:
    """The numbers `(n,)` uint64 that `(n, bytes)` uint8 codes stand for, lowest byte first."""
    padded = np.zeros((len(codes), 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view("<u8")[:, 0].astype(np.uint64)


def _atoms(dim: int, r2: int, largest: int) -> Iterator[tuple[int, ...]]:
    """All `dim` whole numbers of squared sum `r2`, falling and none above `largest`; the largest first."""
    if dim == 0:
        if r2 == 0:
            yield ()
        return
    for value in range(min(largest, isqrt(r2)), -1, -1):
        if r2 > dim * value**2:
            return
        for rest in _atoms(dim - 1, r2 - value**2, value):
            yield (value, *rest)


def _rank(columns: np.ndarray) -> np.ndarray:
    """Where each column of `(dim, n)` stands among its own different orders, sorted as words are: `(n,)` uint64.

    From the last coordinate to the first: of the `orders` of what stands from here on, as many begin with a smaller
    value as its share of what is left, and they all stand before this one.
    """
    dim, n = columns.shape
    ranks, orders = np.zeros(n, np.uint64), np.ones(n, np.uint64)
    for start in range(dim - 1, -1, -1):
        here, rest = columns[start], columns[start:]
        left = np.uint64(dim - start)
        orders = orders * left // (rest == here).sum(axis=0, dtype=np.uint8)
        ranks += orders * (rest < here).sum(axis=0, dtype=np.uint8) // left
    return ranks


def _unrank(ranks: np.ndarray, atoms: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The orders with these ranks, `(dim, n)` int8: `_rank` undone.

    Args:
        ranks: `(n,)` uint64.
        atoms: `(n, dim)` int8, what is put in order.
        orders: `(n,)` uint64, how many there are.
    """
    dim, n = atoms.shape[1], len(atoms)
    largest = int(atoms.max(initial=0))
    # How many of the coordinates that are left are at most 0, 1, 2 …
    at_most = np.stack([(atoms <= value).sum(axis=1, dtype=np.uint8) for value in range(largest + 1)])
    at_most = np.concatenate([np.zeros((1, n), np.uint8), at_most])
    columns, everyone = np.empty((dim, n), np.int8), np.arange(n)
    for position in range(dim):
        left = np.uint64(dim - position)
        place = (ranks * left // orders).astype(np.uint8)  # of this coordinate among those left, sorted
        value = (at_most[1:] <= place).sum(axis=0, dtype=np.int8)
        smaller, up_to = at_most[value, everyone], at_most[value + 1, everyone]
        ranks = ranks - orders * smaller // left
        orders = orders * (up_to - smaller) // left
        at_most[1:] -= np.arange(largest + 1)[:, None] >= value
        columns[position] = value
    return columns
