"""The page: its views, its look, and how it is served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from cmr_hub.errors import CMRError, UnknownNameError

from .components import markup
from .components.preparing import PreparingView
from .components.session_state import QUIET, Updates, lay_out_place
from .endpoints import add_endpoints
from .services.catalogue import Catalogue
from .services.examples import first_question
from .services.links import read_link
from .services.preparation import Preparations
from .services.queries import Asked
from .views import VIEWS
from .views.use import HAS_MCP

logger = logging.getLogger(__name__)

STYLES = Path(__file__).parent / "styles"
MAX_UPLOAD = "100mb"
SESSIONS = 1000  # of the latest visitors and callers that Gradio keeps, with a copy of the page's settings for each
HOUR = 3600
SYSTEM_FONTS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

HEADER = """
<header class="cmr-header">
  <h1>Search images with words, and words with an image</h1>
  <p>Both are embedded into one common space, where what belongs together lies close together.
  Click anything that you find to search on from there.</p>
  <details><summary>How does it work?</summary>
  <p>A model has seen many images with their texts. It turns each image, and each text, into a point of one space,
  so that an image of a cat and the words “a cat” land near each other. To search is to find the points next to yours:
  images for words, words for an image. The tabs look at the same question in other ways: by several models side by
  side, on a map of the space, with the measured scores of every model, and among images of your own.</p></details>
</header>
"""


def build_app(
    catalogue: Catalogue | None = None,
    preparations: Preparations | None = None,
    prepare: Iterable[str] = (),
) -> gr.Blocks:
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
    catalogue = catalogue or Catalogue()
    preparations = preparations or Preparations(on_done=catalogue.refresh)
    if catalogue[catalogue.default].is_ready:
        catalogue.open()
    with gr.Blocks(title="cmr_hub: cross-modal search", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as app:
        gr.HTML(HEADER, apply_default_css=False)
        Page(catalogue, preparations).connect(app)
        add_endpoints(catalogue)
    preparations.start(*(name for name in prepare if catalogue[name].can_prepare))
    app.warm_up = threading.Thread(target=_warm_up, args=[catalogue], name="warm-up", daemon=True)
    return app


class Page:
    """The place bar, the tabs, and what moves between them; to be made inside `gr.Blocks`.

    Args:
        catalogue: the galleries.
        preparations: who prepares those that are not there yet.
    """

    def __init__(self, catalogue: Catalogue, preparations: Preparations):
        self.catalogue = catalogue
        self.session_state = lay_out_place(catalogue)
        self.notice = gr.HTML(apply_default_css=False, visible=False)
        self.preparing = PreparingView(catalogue, preparations, self.session_state)
        # Gradio passes over what a tab that is not open is told of its visibility, so that style hides what there is
        # nothing to show in.
        self.style = gr.HTML(apply_default_css=False, elem_id="cmr-style")
        self.views: dict[str, Any] = {}
        self.session_state.tabs.render()
        with self.session_state.tabs:
            for view in VIEWS:
                with gr.Tab(view.title, id=view.name, elem_id=f"cmr-tab-{view.name}"):
                    self.views[view.name] = view(catalogue, self.session_state)
        self.everything = self._components()

    def _components(self) -> list[Any]:
        """All that [`open`] may change, each once."""
        session_state = self.session_state
        components = [
            session_state.gallery,
            session_state.method,
            session_state.asked,
            session_state.shown,
            session_state.tabs,
            self.notice,
            self.style,
        ]
        components += [*self.preparing.page, *(component for view in self.views.values() for component in view.page)]
        return list(dict.fromkeys(components))

    def connect(self, app: gr.Blocks) -> None:
        """Let what happens in the place bar, in the tabs and in the page's address open the view that it asks for."""
        session_state = self.session_state
        here = [
            session_state.gallery,
            session_state.method,
            session_state.asked,
            session_state.shown,
            session_state.own,
        ]
        app.load(self.arrive, None, self.everything, **QUIET)
        # Of clicks that follow one another quickly, the last one counts.
        moving = {"trigger_mode": "always_last", **QUIET}
        session_state.gallery.input(self.on_gallery, here, self.everything, **moving)
        session_state.tabs.select(self.on_tab, here, self.everything, **moving)
        moved = [session_state.method.input, session_state.moved.change, self.preparing.arrived.change]
        gr.on(moved, self.open, here, self.everything, **moving)

    def arrive(self, request: gr.Request) -> Updates:
        """A visitor comes, maybe by a link to an answer."""
        link = read_link(request.query_params)
        view = link.view if link.view in self.views else "search"
        name, notice = link.gallery or self.catalogue.default, ""
        if name not in self.catalogue.names:
            notice = str(UnknownNameError("gallery", name, self.catalogue.names))
            name, link = self.catalogue.default, replace(link, method=None, asked=None)
        return {
            self.session_state.tabs: gr.Tabs(selected=view),
            **self.open(name, link.method, link.asked, view, None),
            **(self._noticed(notice) if notice else {}),
        }

    def on_gallery(self, name: str, method: str, asked: Asked | None, shown: str, own: str | None) -> Updates:
        """Another gallery opens with a question of its own."""
        return self.open(name, method, None, shown, own)

    def on_tab(
        self, event: gr.SelectData, name: str, method: str, asked: Asked | None, shown: str, own: str | None
    ) -> Updates:
        """Another view of the same question."""
        shown = next(view.name for view in self.views.values() if view.title == event.value)
        return self.open(name, method, asked, shown, own)

    def open(self, name: str, method: str | None, asked: Asked | None, shown: str, own: str | None) -> Updates:
        """A view of a gallery and one of its models.

        Args:
            name: the gallery.
            method: the model; where the gallery has no such one, its first.
            asked: the question; None for the one that the gallery opens on.
            shown: name of the view.
            own: name of the session's own gallery.
        """
        if name not in self.catalogue:
            gone = "This gallery is no longer on this server: visitors' own are removed after a while."
            return {**self.open(self.catalogue.default, None, None, shown, None), **self._noticed(gone)}
        session_state, view = self.session_state, self.views[shown]
        sources = self.catalogue[name].sources
        method = method if method in sources else next(iter(sources), None)
        is_open = method is not None or not getattr(view, "needs_gallery", True)
        updates = {
            **session_state.pickers(self.catalogue, name, method, own),
            **self.preparing.open(name),
            session_state.shown: shown,
            session_state.asked: asked,
        }
        without = [
            each
            for each, other in self.views.items()
            if hasattr(other, "is_for") and not (method is not None and other.is_for(name, method))
        ]
        if shown in without:
            shown, view = "search", self.views["search"]
            updates |= {session_state.shown: shown, session_state.tabs: gr.Tabs(selected=shown)}
        try:
            if method is not None:
                asked = asked or first_question(self.catalogue.open(name, method))
            opened = view.open(name, method, asked) if is_open else {}
            hidden = self._hiding(without, None if is_open else shown)
            return {**updates, session_state.asked: asked, **opened, self.style: hidden, **self._noticed("")}
        except CMRError as error:
            return {**updates, self.style: self._hiding(without, shown), **self._noticed(str(error))}

    @staticmethod
    def _hiding(without: list[str], closed: str | None) -> str:
        """Style that hides the tabs of some views, and the inside of one that cannot be opened."""
        selectors = [f"#cmr-tab-{name}-button" for name in without] + ([f"#cmr-tab-{closed}"] if closed else [])
        return f"<style>{', '.join(selectors)} {{ display: none !important; }}</style>" if selectors else ""

    def _noticed(self, message: str) -> Updates:
        return {self.notice: gr.HTML(markup.notice(message) if message else "", visible=bool(message))}


def launch(app: gr.Blocks, **options: Any) -> Any:
    """Serve the Space; host and port come from `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`, as usual.

    Args:
        app: from [`build_app`].
        **options: as `gr.Blocks.launch` takes them.
    """
    theme = gr.themes.Default(
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
    app.warm_up.start()
    return app.launch(
        theme=theme,
        css="\n".join(path.read_text(encoding="utf-8") for path in sorted(STYLES.glob("*.css"))),
        max_file_size=MAX_UPLOAD,
        footer_links=["api"],
        mcp_server=HAS_MCP,
        state_session_capacity=SESSIONS,
        **options,
    )


def _warm_up(catalogue: Catalogue) -> None:
    """Encode a blank image, so that the first visitor's image does not wait for the network to be built."""
    if not (catalogue[catalogue.default].is_ready and catalogue.source().takes_images):
        return
    catalogue.open().retriever.encode_images([Image.new("RGB", (256, 256), "white")])
