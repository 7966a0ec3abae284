"""Routes that take the place of Gradio's: where uploads are put, which files are served, and what is closed."""

from __future__ import annotations

import shutil
import threading
from asyncio import CancelledError
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from gradio.route_utils import MultiPartException, file_fetch, upload_fn
from gradio.routes import API_PREFIX, file_upload_statuses
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..services.received_files import is_plain_file, new_folder, remove, root
from ..services.upload_tables import MB
from ..services.visitors import client_address

MAX_HELD = 500 * MB  # of one visitor's uploads; the oldest give way
MIN_FREE = 300 * MB  # of the disk, below which nothing is received
# What Gradio serves and no page of this app asks for: other servers' files, recordings, states of sessions.
CLOSED = (
    *(f"{API_PREFIX}/{path}" for path in ("proxy={rest:path}", "file/{rest:path}", "stream/{rest:path}")),
    *(f"{API_PREFIX}/{path}" for path in ("process_recording", "deep_link", "dev/reload")),
    *(f"{API_PREFIX}/{path}{{rest:path}}" for path in ("component_server", "vibe")),
    "/monitoring",
    "/monitoring/{rest:path}",
)


class UploadQuota:
    """How much of each visitor's uploads is held: of one who sends more, the oldest are removed.

    Args:
        most: bytes per visitor.
    """

    def __init__(self, most: int = MAX_HELD):
        self.most = most
        self._held: defaultdict[str, deque[tuple[Path, int]]] = defaultdict(deque)
        self._lock = threading.Lock()

    def add(self, visitor: str, folder: Path) -> None:
        """Count a new upload, and make room for it."""
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with self._lock:
            for other in [other for other, held in self._held.items() if not held[-1][0].exists()]:
                del self._held[other]
            held = self._held[visitor]
            held.append((folder, size))
            while len(held) > 1 and (not held[0][0].exists() or sum(size for _, size in held) > self.most):
                remove(held.popleft()[0])


def own_routes(max_file_size: int, blocks: Any) -> list[BaseRoute]:
    """The routes, to be found before Gradio's own.

    Args:
        max_file_size: bytes of one uploaded file.
        blocks: the app.
    """
    quota = UploadQuota()

    async def upload(request: Request) -> Response:
        """As Gradio's, into a folder that nobody else can name; what is broken off leaves nothing."""
        folder = new_folder()
        if shutil.disk_usage(folder).free < MIN_FREE:
            remove(folder)
            return _no_room()
        upload_id = request.query_params.get("upload_id")
        progress = file_upload_statuses if upload_id else None
        try:
            files, _, _ = await upload_fn(request, str(folder), max_file_size, upload_id, True, progress)
        except MultiPartException as error:
            remove(folder)
            status = 413 if "maximum allowed size" in error.message else 400
            return PlainTextResponse(error.message, status_code=status)
        except (HTTPException, ClientDisconnect, CancelledError):
            remove(folder)
            raise
        except OSError:
            remove(folder)
            return _no_room()
        except Exception:  # on a hostile request the parser raises whatever it runs into
            remove(folder)
            return PlainTextResponse("This is no upload of files that can be read.", status_code=400)
        if not files:
            remove(folder)
            return PlainTextResponse("There are no files in this upload.", status_code=400)
        visitor = client_address(request.client.host if request.client else None, request.headers)
        await run_in_threadpool(quota.add, visitor, folder)
        return JSONResponse(files)

    async def file(request: Request) -> Response:
        """As Gradio's, of files in the Space's own folder alone, as they stand there."""
        path = request.path_params["path"]
        if not is_plain_file(path):
            raise HTTPException(403, "There is no such file, or it is not served.")
        return await run_in_threadpool(file_fetch, path, request, blocks, str(root()))

    async def closed(request: Request) -> Response:
        raise HTTPException(404)

    return [
        *(Route(f"{API_PREFIX}/{path}", upload, methods=["POST"]) for path in ("upload", "upload/")),
        Route(f"{API_PREFIX}/file={{path:path}}", file, methods=["GET", "HEAD"]),
        *(Route(path, closed, methods=["GET", "HEAD", "POST"]) for path in CLOSED),
    ]


def _no_room() -> Response:
    return PlainTextResponse("The server has no room for uploads now. Try again later.", status_code=507)
