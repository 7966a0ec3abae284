from __future__ import annotations

from cmr_hub.utils.messages import name_some


def test_name_some():
    assert name_some([]) == ""
    assert name_some(["a", "b"]) == "a, b"
    assert name_some("abcd") == "a, b, c and 1 more"
