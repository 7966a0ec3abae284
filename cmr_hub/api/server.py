"""Serving the API."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cmr_hub.utils.memory import keep_little_memory
from cmr_hub.utils.request_limits import close_silent_connections

from .app import build_api
from .galleries import GalleryService, open_galleries

PORT = 7860
DRAIN = 1.0  # seconds after a signal to stop in which clients with open connections are told that it stops
GRACE = 60  # seconds in which requests in flight are answered after that


class DrainingServer(uvicorn.Server):
    """A server that answers for a while after a signal to stop, and closes each connection with its answer.

    Without that a request that is sent while its idle connection is being closed would be lost. A second signal stops
    at once.

    Args:
        config: of the server.
        app: whose `state.is_stopping` is set by the signal.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI):
        super().__init__(config)
        self.api = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if self.api.state.is_stopping:
            super().handle_exit(sig, frame)
            return
        self.api.state.is_stopping = True
        timer = threading.Timer(DRAIN, super().handle_exit, [sig, frame])
        timer.daemon = True
        timer.start()


def serve_api(
    galleries: Iterable[Path], photos: Mapping[Path, Path] | None = None, host: str = "127.0.0.1", port: int = PORT
) -> None:
    """Serve galleries until the process is interrupted or terminated; requests in flight are answered first.

    Args:
        galleries: folders of saved galleries.
        photos: saved galleries whose images are files of a folder -> that folder.
        host: address to listen at.
        port: port; 0 for a free one.

    Raises:
        InputError, CheckpointError: a gallery cannot be opened.
    """
    keep_little_memory()
    service = GalleryService(open_galleries(galleries, photos))
    app = build_api(service)
    config = uvicorn.Config(
        app, host=host, port=port, timeout_graceful_shutdown=GRACE, access_log=False, log_level="info"
    )
    server = DrainingServer(config, app)
    close_silent_connections(server)
    server.run()
