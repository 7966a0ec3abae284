from __future__ import annotations

import pytest

from cmr_hub.utils.addresses import without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/data.zip", "https://host/data.zip"),
        ("https://me:pass@host:8080/a@b.zip", "https://host:8080/a@b.zip"),
        ("https://me:p@ss@host/", "https://host/"),
        ("https://host/data.zip?url=http://other#part", "https://host/data.zip"),
        ("me:pass@host:19530", "host:19530"),
    ],
)
def test_what_may_be_printed(address, shown):
    assert without_credentials(address) == shown
