from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from cmr_hub.space.services.visitors import client_address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # written by the visitor
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.7", "9.9.9.9, 1.1.1.1, 10.0.0.3", "1.1.1.1"),
        ("10.0.0.7", "192.168.1.5", "192.168.1.5"),
        ("10.0.0.7", "<script>, 10.0.0.3", "10.0.0.3"),
        ("2001:4860:4860::8888", None, "2001:4860:4860::/64"),
        ("::ffff:8.8.8.8", "1.1.1.1", "8.8.8.8"),
        (None, None, ""),
        ("unix", "1.1.1.1", ""),
    ],
)
def test_the_last_public_address_on_the_way_counts(peer: str | None, forwarded: str | None, address: str):
    assert client_address(peer, {} if forwarded is None else {"x-forwarded-for": forwarded}) == address


def test_a_line_that_a_proxy_adds_counts_before_the_one_that_a_visitor_sent():
    headers = Headers(raw=[(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"8.8.8.8")])
    assert client_address("10.0.0.7", headers) == "8.8.8.8"


def test_a_visitor_with_many_addresses_is_one():
    assert client_address("2001:db8:1:2:3::4", {}) == client_address("2001:db8:1:2::9", {})
