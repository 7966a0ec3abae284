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

RETRIES = 4  # after waits of 1/2, 1, 2 and 4 s: a server that is replaced is back by then
FIRST_WAIT = 0.5
CONNECT_FAILED = 2  # pymilvus' code where a server it knew is gone
TOKEN_VARIABLE = "MILVUS_TOKEN"

# pymilvus prints every failure with its stack before it raises it; here it is raised again, in plain words.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """A client of one server.

    Args:
        address: "http://host:19530", "https://…" for a cluster behind TLS, or just "host:19530".
        token: "user:password" or an API key; by default `$MILVUS_TOKEN`. It is not kept.
        timeout: seconds that a request may take.

    Raises:
        InputError: no such address can be, or it contains a password.
        ServerError: no server answers there.
    """

    def __init__(self, address: str, token: str | None = None, timeout: float = 60.0):
        self.address, self.timeout = _checked(address), timeout
        token = token or os.environ.get(TOKEN_VARIABLE, "")
        self._client = self._repeated(
            "connect", timeout, lambda: MilvusClient(self.address, token=token, timeout=timeout, dedicated=True)
        )

    def close(self) -> None:
        """Let go of the server."""
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


def _checked(address: str) -> str:
    """The address with its scheme."""
    if "@" in address:
        raise InputError("The address of a Milvus server contains a password: pass it as token='user:password'.")
    whole = address if "://" in address else f"http://{address}"
    if not re.fullmatch(r"(https?|tcp)://[^/\s]+/?", whole):
        raise InputError(f"A Milvus server has an address like 'http://host:19530', not {address!r}.")
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
