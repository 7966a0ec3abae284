"""The API's endpoints.

Annotations are no strings in this module: FastAPI reads those of functions within functions as they stand.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmr_hub.errors import BusyError, CMRError, UnknownNameError
from cmr_hub.utils.request_limits import BodyLimits

from .batching import Batcher
from .galleries import GalleryService
from .schemas import EncodeAnswer, EncodeRequest, GalleryInfo, Health, SearchAnswer, SearchRequest

MAX_BODY = 32_000_000  # bytes of a request: images come in base64
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What `/metrics` tells Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("cmr_requests", "Requests", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("cmr_request_seconds", "Seconds of requests", ["path"], registry=self.registry)
        self.batches = Histogram(
            "cmr_batch_size", "Requests that were answered together", registry=self.registry, buckets=BATCH_SIZES
        )
        self.waiting = Gauge("cmr_requests_waiting", "Requests that wait for the next batch", registry=self.registry)


class Measured:
    """ASGI middleware that counts requests and their seconds, and closes connections when the server stops.

    Args:
        app: what answers requests.
        metrics: receives the figures.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if message["type"] == "http.response.start" and scope["app"].state.is_stopping:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")  # addresses that do not exist are without number
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)


def build_api(service: GalleryService) -> FastAPI:
    """The API of galleries as an ASGI app.

    Example:
    ```python
    >>> import cmr_hub
    >>> from cmr_hub.data import load_dataset
    >>> gallery = cmr_hub.Gallery.from_dataset(load_dataset("emoji")["test"], cmr_hub.from_pretrained("cmr/cca-emoji"))
    >>> app = build_api(GalleryService({"emoji": gallery}))
    >>> app.title
    'cmr_hub'
    ```
    """
    metrics = Metrics()
    batcher: Batcher[Any, Any] = Batcher(service.answer, on_batch=metrics.batches.observe)
    metrics.waiting.set_function(lambda: batcher.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await batcher.close()

    app = FastAPI(
        title="cmr_hub",
        summary="Search images by words and texts by images.",
        version=version("cmr-hub"),
        lifespan=lifespan,
    )
    app.state.is_stopping = False
    app.add_middleware(BodyLimits, most_bytes=lambda path: MAX_BODY)

    app.add_middleware(Measured, metrics=metrics)

    @app.exception_handler(CMRError)
    async def refuse(request: Request, error: CMRError) -> JSONResponse:
        if isinstance(error, BusyError):
            return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})
        return JSONResponse({"detail": str(error)}, 404 if isinstance(error, UnknownNameError) else 400)

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input, which may be large, or no JSON (NaN).
        problems = [{"loc": problem["loc"], "msg": problem["msg"]} for problem in error.errors()]
        return JSONResponse({"detail": problems}, 422)

    @app.get("/health", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """Whether the service takes requests (200) or is about to stop (503); for load balancers."""
        response.status_code = 503 if app.state.is_stopping else 200
        return Health(galleries=len(service.galleries), waiting=batcher.waiting)

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/galleries")
    async def galleries() -> list[GalleryInfo]:
        """The galleries that are served."""
        return service.infos()

    @app.get("/galleries/{gallery}/items/{item}/image", response_class=Response)
    async def image(gallery: str, item: str) -> Response:
        """The image of an item as PNG."""
        return Response(await run_in_threadpool(service.image, gallery, item), media_type="image/png")

    @app.post("/search")
    async def search(request: SearchRequest) -> SearchAnswer:
        """The items of a gallery that are nearest to a query."""
        return await batcher.ask(request)

    @app.post("/encode")
    async def encode(request: EncodeRequest) -> EncodeAnswer:
        """Embeddings of texts or images by a gallery's checkpoint."""
        return await batcher.ask(request)

    return app
