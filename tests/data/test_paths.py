from __future__ import annotations

import pytest

from cmr_hub.data.paths import leads_out, unsafe_reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../cat.png", "'..'"),
        ("a/../../cat.png", "'..'"),
        ("/etc/passwd", "absolute"),
        ("C:/cat.png", "absolute"),
        ("..\\cat.png", "backslash"),
        ("cat\0.png", "control"),
        ("cat\n.png", "control"),
        (" ", "empty"),
    ],
)
def test_unsafe_names(name, reason):
    assert reason in unsafe_reason(name)


@pytest.mark.parametrize("name", ["cat.png", "a/b/cat.png", "./cat.png", "a..b.png", "..cat.png", "ünï cöde.png"])
def test_safe_names(name):
    assert unsafe_reason(name) is None


def test_links_that_lead_out(tmp_path):
    root = (tmp_path / "root").resolve()
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "inside.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").symlink_to(root / "inside.png")
    (root / "up").symlink_to(tmp_path)
    assert leads_out(root / "out.png", root)
    assert leads_out(root / "up" / "secret.png", root)
    assert not leads_out(root / "in.png", root)
    assert not leads_out(root / "inside.png", root)
