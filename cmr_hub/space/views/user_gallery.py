"""The view of one's own gallery: files in, searched in all views, taken home, and gone with the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gradio as gr

from cmr_hub.errors import CMRError

from ..components import markup, user_gallery_markup
from ..components.session_state import QUIET, SessionState, Updates
from ..services.catalogue import Catalogue
from ..services.queries import Asked
from ..services.user_checkpoints import own_checkpoints
from ..services.user_galleries import MAX_TITLE, UserGalleries
from ..services.user_gallery import UserGallery
from ..services.visitors import client_address
from .base import View

TICK = 0.5  # seconds between two looks at a gallery that is being built
PULSE = 20.0  # seconds between two signs of life of a page that has one
CANCELLED = "Cancelled. Nothing was kept."
REMOVED = "Your gallery was removed. Nothing of it is left on this server."
# The button that has the file is hidden by the style: the one that is seen makes the file first.
FETCH = "() => document.querySelector('#cmr-own-file')?.click()"


class UserGalleryView(View):
    """A visitor's own gallery: made of files, searched in all views, downloaded, and removed with the page.

    Args:
        catalogue: the galleries.
        session_state: the components that all views share.
        galleries: the visitors' own; one store for all browser sessions.
    """

    name = "own"
    title = "Your gallery"

    def __init__(self, catalogue: Catalogue, session_state: SessionState, galleries: UserGalleries | None = None):
        self.galleries = galleries or UserGalleries(catalogue)
        super().__init__(catalogue, session_state)

    @property
    def page(self) -> list[Any]:
        """The models that there are by now."""
        return [self.model]

    @property
    def shown(self) -> list[Any]:
        """The components that say how far the gallery is."""
        return [self.status, self.build, self.cancel, self.ready, self.timer]

    def _lay_out(self) -> None:
        gr.HTML(user_gallery_markup.introduction(), apply_default_css=False)
        with gr.Row(elem_id="cmr-own-choose"):
            self.files = gr.File(
                file_count="multiple",
                label="Images, a zip, and perhaps a table",
                height=150,
                min_width=260,
                elem_id="cmr-own-files",
            )
            self.folder = gr.File(
                file_count="directory", label="Or a folder", height=150, min_width=260, elem_id="cmr-own-folder"
            )
        with gr.Row():
            self.called = gr.Textbox(
                label="Title", placeholder="My images", max_length=MAX_TITLE, min_width=200, elem_id="cmr-own-title"
            )
            self.model = gr.Dropdown(
                list(own_checkpoints(self.catalogue)), label="Embedded by", min_width=200, elem_id="cmr-own-model"
            )
        with gr.Row(elem_id="cmr-own-do"):
            self.build = gr.Button("Build the gallery", variant="primary", elem_id="cmr-own-build")
            self.cancel = gr.Button("Cancel", visible=False, elem_id="cmr-own-cancel")
        self.status = gr.HTML(apply_default_css=False, elem_id="cmr-own-status")
        with gr.Row(visible=False, elem_id="cmr-own-ready") as self.ready:
            self.search = gr.Button("Search it", variant="primary", elem_id="cmr-own-search")
            self.download = gr.Button("Download", elem_id="cmr-own-download")
            self.remove = gr.Button("Remove now", elem_id="cmr-own-remove")
        self.file = gr.DownloadButton("Download", elem_id="cmr-own-file")
        self.timer = gr.Timer(TICK, active=False)

    def _connect(self) -> None:
        session_state = self.session_state
        there = [session_state.gallery, session_state.method, session_state.own, session_state.shown]
        moves = [*self.shown, *there, session_state.asked, *session_state.going]
        self.build.click(
            self.on_build,
            [self.files, self.folder, self.called, self.model, *there],
            [*moves, self.files, self.folder],
            preprocess=False,
            **QUIET,
        )
        self.cancel.click(self.on_cancel, None, self.shown, **QUIET)
        self.timer.tick(self.look, [*there, session_state.asked], moves, **QUIET)
        self.search.click(self.on_search, None, moves, **QUIET)
        self.remove.click(self.on_remove, there, moves, **QUIET)
        self.download.click(self.on_download, None, [self.file, self.status], **QUIET).success(None, js=FETCH, **QUIET)
        page = gr.context.Context.root_block
        assert page is not None  # views are made inside `gr.Blocks`
        page.unload(self.on_leave)

    def open(self, name: str, method: str | None, asked: Asked | None) -> Updates:
        """The models that there are by now; all else is as the visitor left it."""
        return {self.model: gr.Dropdown(list(own_checkpoints(self.catalogue)))}

    def on_build(
        self,
        files: list[dict] | None,
        folder: list[dict] | None,
        title: str | None,
        model: str,
        name: str,
        method: str,
        known: str | None,
        shown: str,
        request: gr.Request,
    ) -> Updates:
        """The one click. The files are gone with it, and a gallery that was there before."""
        try:
            sent = [*(files or ()), *(folder or ())]
            self.galleries.build(_owner(request), sent, title or "", model, _visitor(request))
        except CMRError as error:
            return {self.status: markup.notice(str(error))}
        gone = self._gone(name, method, known, shown) if known else {}
        return {**self._state(request), **gone, self.files: None, self.folder: None}

    def on_cancel(self, request: gr.Request) -> Updates:
        """A second thought."""
        self.galleries.cancel(_owner(request))
        return self._state(request, CANCELLED)

    def look(
        self, name: str, method: str, known: str | None, shown: str, asked: Asked | None, request: gr.Request
    ) -> Updates:
        """A look at what is being built, and a sign of life of the page. What is ready, or gone, is told to all views.

        Args:
            name: of the gallery that the page shows.
            method: of the model that the page shows.
            known: name of the gallery that the page knows as the session's own.
            shown: of the view that the page shows.
            asked: the question that the page shows, if any.
            request: of the page; its session owns the gallery.
        """
        self.galleries.touch(_owner(request), (name, method, asked))
        own = self.galleries[_owner(request)]
        if own is None and known is None:  # cancelled or removed a moment ago, and the page has been told so
            return {component: value for component, value in self._state(request).items() if component != self.status}
        if own is None:
            return {**self._state(request, REMOVED), **self._gone(name, method, known, shown)}
        if own.progress.state == "done" and own.name != known:
            return {**self._state(request), **self._arrived(own, shown)}
        if own.progress.is_active:
            return {self.status: user_gallery_markup.status(own)}
        return self._state(request) if own.progress.state == "failed" else gr.skip()

    def on_search(self, request: gr.Request) -> Updates:
        """To the search view."""
        own = self.galleries[_owner(request)]
        if own is None:
            return self._state(request, REMOVED)
        return {**self._arrived(own, self.name), **self.session_state.go("search")}

    def on_remove(self, name: str, method: str, known: str | None, shown: str, request: gr.Request) -> Updates:
        """Nothing stays."""
        self.galleries.forget(_owner(request))
        return {**self._state(request, REMOVED), **self._gone(name, method, known, shown)}

    def on_download(self, request: gr.Request) -> Updates:
        """The zip, made when it is first asked for."""
        try:
            return {self.file: str(self.galleries.pack(_owner(request), Path(self.file.GRADIO_CACHE)))}
        except CMRError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def on_leave(self, request: gr.Request) -> None:
        """The page was closed, or has lost its connection."""
        if request.session_hash:
            self.galleries.leave(request.session_hash)

    def _state(self, request: gr.Request, otherwise: str = "") -> Updates:
        """The view as it stands; `otherwise` says why there is no gallery."""
        own = self.galleries[_owner(request)]
        is_active = own is not None and own.progress.is_active
        is_ready = own is not None and own.progress.state == "done"
        return {
            self.status: user_gallery_markup.status(own) if own else user_gallery_markup.message(otherwise),
            self.build: gr.Button(interactive=not is_active),
            self.cancel: gr.Button(visible=is_active),
            self.ready: gr.Row(visible=is_ready),
            self.timer: gr.Timer(TICK if is_active else PULSE, active=is_active or is_ready),
        }

    def _arrived(self, own: UserGallery, shown: str) -> Updates:
        """The page at the session's own gallery."""
        pickers = self.session_state.pickers(self.catalogue, own.name, own.checkpoint.method, own.name)
        return {**pickers, self.session_state.own: own.name, **self._asked_anew(shown)}

    def _gone(self, name: str, method: str | None, known: str | None, shown: str) -> Updates:
        """The page without the session's own gallery; if it shows that, it goes to the default one."""
        asked = {}
        if name == known:
            name, asked = self.catalogue.default, self._asked_anew(shown)
            method = next(iter(self.catalogue[name].sources), None)
        return {
            **self.session_state.pickers(self.catalogue, name, method, None),
            self.session_state.own: None,
            **asked,
        }

    def _asked_anew(self, shown: str) -> Updates:
        """No question, as another gallery has its own; a view that shows answers opens anew."""
        again = {} if shown == self.name else {self.session_state.moved: time.monotonic_ns()}
        return {self.session_state.asked: None, **again}


def _visitor(request: gr.Request) -> str:
    return client_address(request.client.host if request.client else None, request.headers)


def _owner(request: gr.Request) -> str:
    if not request.session_hash:
        raise gr.Error("This works in a browser only.", print_exception=False)
    return request.session_hash
