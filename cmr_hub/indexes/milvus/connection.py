"""Calls to a Milvus server: each ends within its time, and fails with an error that says what to do."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any

import grpc
from pymilvus import MilvusClient, MilvusException

from cmr_hub.errors import InputError, ServerError
from cmr_hub.utils.addresses import without_credentials

RETRIES = 4  # after waits of 1/2, 1, 2 and 4 s: a server that is replaced is back by then
FIRST_WAIT = 0.5
CONNECT_FAILED = 2  # pymilvus' code where a server it knew is gone
TOKEN_VARIABLE, URI_VARIABLE = "MILVUS_TOKEN", "MILVUS_URI"  # the only settings in addition to the caller's arguments

# pymilvus prints every failure with its stack before it raises it; here it is raised again, in plain words.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """A client of one server.

    Args:
        address: "http://host:19530", "https://…" for a cluster behind TLS, or just "host:19530".
        token: "user:password" or an API key; by default `$MILVUS_TOKEN`, and "" for none. It is not stored.
        timeout: seconds that a request may take.

    Raises:
        InputError: no such address can be, or it contains a password.
        ServerError: no server answers there.
    """

    def __init__(self, address: str, token: str | None = None, timeout: float = 60.0):
        self.address, self.timeout = _checked(address), timeout
        token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
        self._client = self._repeated(
            "connect", timeout, lambda: MilvusClient(self.address, token=token, timeout=timeout, dedicated=True)
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __call__(self, method: str, *args: Any, timeout: float | None = None, **options: Any) -> Any:
        """What a method of pymilvus' client gives.

        All that is called here may be repeated: it reads, or writes what it says once and for all. Failures that pass
        are met by calling again, a few times.

        Args:
            method: its name.
            *args: its own.
            timeout: another limit than the usual one, in seconds.
            **options: its own.

        Raises:
            ServerError: the server is gone, does not answer in time, or refuses.
        """
        timeout = timeout or self.timeout
        function = getattr(self._client, method)
        return self._repeated(method, timeout, lambda: function(*args, timeout=timeout, **options))

    def _repeated(self, what: str, timeout: float, function: Callable[[], Any]) -> Any:
        """What a function gives that fails where the server does; `what` and `timeout` are for the message."""
        wait = FIRST_WAIT
        for attempt in range(RETRIES + 1):
            started = time.monotonic()
            try:
                return function()
            except (MilvusException, grpc.RpcError) as error:
                slow = _is_too_slow(error) or time.monotonic() - started >= timeout
                if slow or attempt == RETRIES or not _passes(error):
                    raise self._explained(what.replace("_", " "), error, slow, timeout) from error
            time.sleep(wait)
            wait *= 2

    def _explained(self, what: str, error: Exception, slow: bool, timeout: float) -> ServerError:
        if slow:
            return ServerError(
                f"The Milvus server at {self.address} did not answer within {timeout:g} s ({what}). What it has "
                "confirmed is safe: give it more time (timeout=…) or see to it, and run the same again."
            )
        if _is_gone(error):
            return ServerError(
                f"No Milvus server answers at {self.address} ({what}). What it has confirmed is safe: start it, or "
                f"correct the address or the token, and run the same again. ({_reason(error)})"
            )
        return ServerError(f"The Milvus server at {self.address} refuses ({what}): {_reason(error)}")


def check_confirmed(saved: Any) -> None:
    """Refuse an address in a file, unless it is that of `$MILVUS_URI`: a file must not choose where a token goes.

    Args:
        saved: the address in the file; None where a server of this machine was used.

    Raises:
        InputError: the address is not confirmed; the message says how to confirm it.
    """
    trusted = os.environ.get(URI_VARIABLE)
    if trusted and (saved is None or _is_same(saved, trusted)):
        return
    hint = None if saved is None else without_credentials(str(saved))[:200]
    where = "a Milvus server of the machine it was saved on" if hint is None else f"the Milvus server at {hint!r}"
    raise InputError(
        f"The index is a collection of {where}, and files do not choose which servers are contacted. To open it, pass "
        f"index_options={{'address': {hint or 'http://host:19530'!r}}} if that server is yours, or "
        f"index_options={{'folder': …}} for a server of this machine; ${URI_VARIABLE} confirms the address that it is "
        "set to. To search a gallery without a server, pass index='auto'."
    )


def _is_same(address: Any, other: str) -> bool:
    try:
        return isinstance(address, str) and _checked(address) == _checked(other)
    except InputError:
        return False


def _checked(address: str) -> str:
    """The address with its scheme."""
    if "@" in address:
        raise InputError(
            f"The address of a Milvus server contains a password: pass it as token='user:password', or set "
            f"${TOKEN_VARIABLE}."
        )
    whole = (address if "://" in address else f"http://{address}").rstrip("/")
    # What ends in ".db" pymilvus takes for a file of Milvus Lite, and creates.
    if not re.fullmatch(r"(https?|tcp)://[^/?#\s]+", whole) or whole.endswith(".db"):
        raise InputError(
            f"A Milvus server has an address like 'http://host:19530', not {without_credentials(address)!r}."
        )
    return whole


def _passes(error: Exception) -> bool:
    """Whether the same may succeed in a moment."""
    return _is_gone(error) or getattr(error, "retriable", False)


def _is_gone(error: Exception) -> bool:
    return _code(error) in (CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE)


def _is_too_slow(error: Exception) -> bool:
    return _code(error) is grpc.StatusCode.DEADLINE_EXCEEDED or "Retry timeout" in _reason(error)


def _code(error: Any) -> Any:
    return error.code() if isinstance(error, grpc.RpcError) else error.code


def _reason(error: Any) -> str:
    return error.details() if isinstance(error, grpc.RpcError) else error.message
