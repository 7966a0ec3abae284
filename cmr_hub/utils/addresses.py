"""Addresses of the network, as they may be printed and saved."""

from __future__ import annotations

import re


def without_credentials(address: str) -> str:
    """An address without user, password, query and fragment, all of which may hold a secret.

    Example:
    ```python
    >>> without_credentials("https://me:secret@host.example:8080/data.zip?signature=secret")
    'https://host.example:8080/data.zip'
    ```
    """
    scheme, separator, rest = address.partition("://") if "://" in address else ("", "", address)
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
