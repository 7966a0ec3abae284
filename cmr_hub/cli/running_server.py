"""Searches a Space that is running, by its API: neither checkpoint nor gallery is loaded here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cmr_hub.errors import InputError, ServerError

SECONDS = 60  # that an answer may take
MAX_BYTES = 8 << 20  # of an answer
PREFIX = "/gradio_api"


def search_server(address: str, arguments: Mapping[str, Any], endpoint: str) -> list[dict[str, Any]]:
    """The hits of a search.

    Args:
        address: of the server, such as http://127.0.0.1:7860.
        arguments: of the endpoint, by name; others have their defaults.
        endpoint: its name.

    Raises:
        ServerError: the server is down, too slow, no Space of cmr_hub, or refuses the query.
        InputError: the address is none.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise InputError(f"{address!r} is no address of a server. Write it as http://127.0.0.1:7860.")
    base = address.rstrip("/") + PREFIX
    try:
        known = json.loads(_answer(f"{base}/info"))["named_endpoints"][f"/{endpoint}"]["parameters"]
    except (LookupError, TypeError, ValueError) as error:
        raise ServerError(f"{address} is no Space of cmr_hub: it has no endpoint {endpoint!r}.") from error
    names = [parameter["parameter_name"] for parameter in known]
    unknown = [name for name in arguments if name not in names]
    if unknown:
        raise ServerError(f"The server {address} takes no {unknown[0]!r}: it has another version of cmr_hub.")
    values = [arguments.get(one["parameter_name"], one.get("parameter_default")) for one in known]
    event = json.loads(_answer(f"{base}/call/{endpoint}", {"data": values}))["event_id"]
    for block in _answer(f"{base}/call/{endpoint}/{event}").split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in block.splitlines())
        if lines.get("event") == "complete":
            hits: list[dict[str, Any]] = json.loads(lines["data"])[0]
            return hits
        if lines.get("event") == "error":
            raise ServerError(f"The server {address} refuses the query: {_message(lines.get('data', ''))}")
    raise ServerError(f"The server {address} ended its answer too early: ask again.")


def _message(data: str) -> str:
    """What an error of Gradio says."""
    said = json.loads(data) if data else None
    return str(said.get("error") or said) if isinstance(said, dict) else str(said or "it does not say why.")


def _answer(address: str, content: Any = None) -> str:
    body = None if content is None else json.dumps(content).encode()
    request = Request(address, body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            text: str = answer.read(MAX_BYTES).decode()
            return text
    except HTTPError as error:
        raise ServerError(f"{address} answers with the status {error.code} ({error.reason}).") from error
    except (URLError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", error)
        raise ServerError(
            f"{address} cannot be reached ({reason}). Start the server by `cmr serve FOLDER`, or search without "
            "--server."
        ) from error
