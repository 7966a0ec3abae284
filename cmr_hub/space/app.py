"""The Space as an app: built, styled and served."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

from cmr_hub.utils.images import DECODING
from cmr_hub.utils.memory import keep_little_memory
from cmr_hub.utils.request_limits import BodyLimits, close_silent_connections

from .components.rendering import render
from .endpoints import add_endpoints
from .page import Page
from .services.catalogue import Catalogue
from .services.preparation import Preparations, training_command
from .services.received_files import receive_privately, remove_older
from .services.upload_tables import MB
from .serving.admission import CheckedBlocks
from .serving.answers import Answers
from .serving.request_sizes import most_bytes
from .serving.routes import own_routes
from .views.use import HAS_MCP

STYLES = Path(__file__).parent / "styles"
MAX_UPLOAD = 100 * MB
SESSIONS = 1000  # of the latest visitors and callers that Gradio keeps, with a copy of the page's settings for each
HOUR = 3600
MAX_WAITING = 500  # requests in the queue; a visitor has one or two
PATIENCE, MAX_LARGE_IMAGES = 30.0, 12  # seconds that they wait for memory, and how many may: each keeps a thread
SWEEP = 600  # seconds between two looks for files that are no longer used
SYSTEM_FONTS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


class SpaceApp(CheckedBlocks):
    """The Space as an app.

    Attributes:
        background: threads that [`launch`] starts: one encodes a first image, so that the first visitor's does not
            wait; one removes files that are no longer used.
    """

    background: list[threading.Thread]


def build_app(
    catalogue: Catalogue | None = None,
    preparations: Preparations | None = None,
    prepare: Iterable[str] = (),
) -> SpaceApp:
    """The Space, ready to be launched. The default gallery is open already; the others are when they are first used.

    Args:
        catalogue: the galleries; by default all that there are.
        preparations: who prepares those that are not there yet; one for all browser sessions.
        prepare: names of galleries to prepare in the background from the start.

    Example:
    ```python
    >>> from cmr_hub.space import build_app, launch
    >>> launch(build_app())  # doctest: +SKIP
    ```
    """
    receive_privately()
    catalogue = catalogue or Catalogue()
    preparations = preparations or Preparations(training_command, catalogue.refresh)
    if catalogue[catalogue.default].is_ready:
        catalogue.open()
    with SpaceApp(title="cmr_hub: cross-modal search", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as app:
        gr.HTML(render("header"), apply_default_css=False)
        Page(catalogue, preparations).connect(app)
        add_endpoints(catalogue)
    app.queue(max_size=MAX_WAITING)
    preparations.start(*(name for name in prepare if catalogue[name].can_prepare))
    app.background = [
        threading.Thread(target=_warm_up, args=[catalogue], name="warm-up", daemon=True),
        threading.Thread(target=_sweep, args=[app], name="sweep", daemon=True),
    ]
    return app


def launch(app: SpaceApp, *, prevent_thread_lock: bool = False, **options: Any) -> Any:
    """Serve the Space; host and port come from `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`, as usual.

    A process that serves until it is ended removes all files of visitors when it is interrupted or terminated.

    Args:
        app: from [`build_app`].
        prevent_thread_lock: return at once, and serve as long as the process runs.
        **options: as `gr.Blocks.launch` takes them.
    """
    keep_little_memory()
    DECODING.patience, DECODING.most_waiting = PATIENCE, MAX_LARGE_IMAGES
    serves_until_ended = not (prevent_thread_lock or hasattr(sys, "ps1") or sys.flags.interactive)
    if serves_until_ended and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for thread in app.background:
        thread.start()
    served = app.launch(
        theme=_theme(),
        css="\n".join(path.read_text(encoding="utf-8") for path in sorted(STYLES.glob("*.css"))),
        max_file_size=MAX_UPLOAD,
        footer_links=["api"],
        mcp_server=HAS_MCP,
        state_session_capacity=SESSIONS,
        run_history=False,
        enable_monitoring=False,
        app_kwargs={
            "routes": own_routes(MAX_UPLOAD, app),
            "middleware": [Middleware(Answers), Middleware(BodyLimits, most_bytes=most_bytes)],
        },
        prevent_thread_lock=True,
        **options,
    )
    close_silent_connections(app.server)
    if serves_until_ended:
        app.block_thread()
    return served


def _theme() -> gr.themes.Base:
    return gr.themes.Default(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
    ).set(
        block_background_fill="*body_background_fill",
        block_background_fill_dark="*body_background_fill",
        block_border_width="0px",
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        slider_color="*primary_600",
        slider_color_dark="*primary_600",
    )


def _warm_up(catalogue: Catalogue) -> None:
    """Encode a blank image, so that the first visitor's image does not wait for the network to be built."""
    if not (catalogue[catalogue.default].is_ready and catalogue.source().takes_images):
        return
    catalogue.open().retriever.encode_images([Image.new("RGB", (256, 256), "white")])


def _sweep(app: SpaceApp) -> None:
    """Remove files that are no longer used, as long as the app is served."""
    while True:
        time.sleep(SWEEP)
        if not app.is_running:
            return
        remove_older(HOUR)
