"""Addresses of visitors, by which limits per visitor are counted."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping


def client_address(peer: str | None, headers: Mapping[str, str]) -> str:
    """The address of the visitor: the last public one on the way here, as a reverse proxy adds who asked it.

    What a visitor writes into `X-Forwarded-For` stands before what the proxies add, so it counts only where no address
    on the way is public, as in a network of one's own.

    Args:
        peer: the address that the connection comes from.
        headers: of the request.

    Returns:
        The address; of IPv6 its network of 64 bits, which one visitor may have as a whole.

    Example:
    ```python
    >>> from cmr_hub.space.services.visitors import client_address
    >>> client_address("10.0.0.7", {"x-forwarded-for": "8.8.8.8, 1.1.1.1, 10.0.0.3"})
    '1.1.1.1'
    ```
    """
    # Some proxies add a line of their own below the one that the visitor sent.
    lines = [value for name, value in headers.items() if name.lower() == "x-forwarded-for"]
    way = [peer or "", *reversed(",".join(lines).split(","))]
    found = ""
    for written in way:
        try:
            address = ipaddress.ip_address(written.strip())
        except ValueError:
            break
        if address.version == 6 and address.ipv4_mapped:  # as a server of both versions writes IPv4
            address = address.ipv4_mapped
        found = str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))
        if address.is_global:
            break
    return found
