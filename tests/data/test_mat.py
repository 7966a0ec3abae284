from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_array

from archives import save_mat
from cmr_hub.data import mat
from cmr_hub.errors import DatasetError, MissingExtraError

MATRIX = np.arange(12, dtype=np.float64).reshape(4, 3)
IMAGES = np.arange(2 * 3 * 3 * 5, dtype=np.uint8).reshape(2, 3, 3, 5)


@pytest.fixture(params=["5", "7.3"])
def file(request, tmp_path) -> Path:
    return save_mat(tmp_path / "some.mat", {"YAll": MATRIX, "images": IMAGES}, request.param)


def test_both_versions_read_the_same(file):
    assert {name: array.shape for name, array in mat.list_arrays(file).items()} == {
        "YAll": (4, 3),
        "images": (2, 3, 3, 5),
    }
    matrix = mat.find_array(file, ["tags", "YAll"]).read()
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, MATRIX)
    blocks = list(mat.find_array(file, ["images"]).blocks(2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), np.moveaxis(IMAGES, -1, 0))


def test_what_is_no_matrix_of_this_name(file):
    with pytest.raises(DatasetError, match=r"no array of numbers tags or LAll, only YAll, images"):
        mat.find_array(file, ["tags", "LAll"])
    with pytest.raises(DatasetError, match=r"images has shape \(2, 3, 3, 5\); a matrix is expected"):
        mat.find_array(file, ["images"]).read()


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_values_that_are_not_finite(tmp_path, version):
    path = save_mat(tmp_path / "bad.mat", {"YAll": np.array([[1.0, 2.0], [np.nan, 1.0]])}, version)
    with pytest.raises(DatasetError, match="YAll has values that are not finite, first in row 2"):
        mat.find_array(path, ["YAll"]).read()


def test_nothing_is_read_that_is_too_large(file, monkeypatch):
    monkeypatch.setattr(mat, "MAX_VALUES", 11)
    monkeypatch.setattr(mat, "_read_hdf5", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(mat, "_read_mat5", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DatasetError, match="YAll has shape"):
        mat.find_array(file, ["YAll"]).read()


@pytest.mark.parametrize("harm", ["truncated", "flipped", "no mat", "empty"])
def test_damage_is_named(file, harm):
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 64]) + content[middle + 64 :]
    file.write_bytes(
        {"truncated": content[: middle // 2], "flipped": flipped, "no mat": b"<html>" * 99, "empty": b""}[harm]
    )

    def read() -> None:
        mat.find_array(file, ["YAll"]).read()
        list(mat.find_array(file, ["images"]).blocks(2))

    with pytest.raises(DatasetError, match=r"some.mat (cannot be read as a MATLAB file|has no array)"):
        read()


def test_sparse_matrices_cells_and_texts(tmp_path):
    savemat(
        tmp_path / "some.mat", {"YAll": csc_array(MATRIX), "names": np.array([["a", "b"]], dtype=object), "s": "text"}
    )
    assert list(mat.list_arrays(tmp_path / "some.mat")) == ["YAll"]
    np.testing.assert_array_equal(mat.find_array(tmp_path / "some.mat", ["YAll"]).read(), MATRIX)


def test_nothing_outside_of_the_file_is_read(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(range(12)))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["found"] = MATRIX
    with h5py.File(tmp_path / "evil.mat", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "found")
        file["soft"] = h5py.SoftLink("/plain")
        file["plain"] = MATRIX
        file.create_dataset("raw", (3, 4), "u1", external=[(str(tmp_path / "secret.bin"), 0, 12)])
        layout = h5py.VirtualLayout((4, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "found", (4, 3))
        file.create_virtual_dataset("virtual", layout)
        file["texts"] = np.array([[b"a", b"b"]])
        file.create_group("group")
    assert list(mat.list_arrays(tmp_path / "evil.mat")) == ["plain"]


def test_version_5_does_without_h5py(tmp_path, monkeypatch):
    old, new = (save_mat(tmp_path / f"{version}.mat", {"YAll": MATRIX}, version) for version in ("5", "7.3"))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert mat.find_array(old, ["YAll"]).read().shape == (4, 3)
    with pytest.raises(MissingExtraError, match=r'version 7.3, needs h5py, .*pip install "cmr-hub\[mat\]"'):
        mat.find_array(new, ["YAll"])
