"""How large requests to the Space may be."""

from __future__ import annotations

from gradio.routes import API_PREFIX

from ..services.upload_tables import MB

MAX_UPLOADS = 500 * MB  # of all files in one request
MAX_TOOL_CALL = 32 * MB  # images come in it as data: URIs
MAX_BODY = 4 * MB


def most_bytes(path: str) -> int:
    """How many bytes a request to a path may have."""
    if path.startswith(f"{API_PREFIX}/upload"):
        return MAX_UPLOADS
    return MAX_TOOL_CALL if path.startswith(f"{API_PREFIX}/mcp") else MAX_BODY
