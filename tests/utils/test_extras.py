import sys

import pytest

from cmr_hub.errors import CMRError, MissingExtraError
from cmr_hub.utils.extras import require


def test_an_installed_library_is_imported():
    assert require("os.path", "sweep", "A sweep") is sys.modules["os.path"]


@pytest.mark.parametrize("package", ["no_such_library", "no_such_library.part"])
def test_a_missing_library_names_its_extra(package):
    with pytest.raises(MissingExtraError) as raised:
        require(package, "sweep", "A sweep")
    assert isinstance(raised.value, CMRError)
    assert str(raised.value) == f'A sweep needs {package}, which is not installed: pip install "cmr-hub[sweep]".'


def test_a_library_that_is_kept_out_counts_as_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "no_such_library", None)
    with pytest.raises(MissingExtraError, match="not installed"):
        require("no_such_library", "sweep", "A sweep")


@pytest.mark.parametrize(
    ("source", "reason"),
    [("import no_such_part", "No module named 'no_such_part'"), ("raise ImportError('too old')", "too old")],
)
def test_a_library_that_cannot_be_imported_says_why(tmp_path, monkeypatch, source, reason):
    (tmp_path / "broken_library.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as raised:
        require("broken_library", "mat", "A MATLAB file")
    assert f"which cannot be imported ({reason}): pip install" in str(raised.value)
    assert "broken_library" not in sys.modules
