"""The page: the pickers and the tabs, and what moves between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from cmr_hub.errors import CMRError, UnknownNameError

from .components import markup
from .components.preparing import PreparingPanel
from .components.rendering import render
from .components.session_state import QUIET, SessionState, Updates
from .services.catalogue import Catalogue
from .services.examples import first_question
from .services.links import read_link
from .services.preparation import Preparations
from .services.queries import Asked
from .views import VIEWS, View


class Page:
    """The pickers, the tabs, and what moves between them; to be made inside `gr.Blocks`.

    Args:
        catalogue: the galleries.
        preparations: who prepares those that are not there yet.
    """

    def __init__(self, catalogue: Catalogue, preparations: Preparations):
        self.catalogue = catalogue
        self.session_state = SessionState.lay_out(catalogue)
        self.notice = gr.HTML(apply_default_css=False, visible=False)
        self.preparing = PreparingPanel(catalogue, preparations, self.session_state)
        # Gradio passes over what a tab that is not open is told of its visibility, so that style hides what there is
        # nothing to show in.
        self.style = gr.HTML(apply_default_css=False, elem_id="cmr-style")
        self.views: dict[str, View] = {}
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
            *(session_state.gallery, session_state.method, session_state.asked, session_state.shown),
            *(session_state.tabs, self.notice, self.style),
        ]
        components += [*self.preparing.page, *(component for view in self.views.values() for component in view.page)]
        return list(dict.fromkeys(components))

    def connect(self, app: gr.Blocks) -> None:
        """Let what happens in the pickers, in the tabs and in the page's address open the view that it asks for."""
        session_state = self.session_state
        here = [
            *(session_state.gallery, session_state.method, session_state.asked),
            *(session_state.shown, session_state.own),
        ]
        app.load(self.arrive, None, self.everything, **QUIET)
        # Of clicks that follow one another quickly, the last one counts.
        moving: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
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
        shown = next((view.name for view in self.views.values() if view.title == event.value), shown)
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
        session_state = self.session_state
        sources = self.catalogue[name].sources
        method = method if method in sources else next(iter(sources), None)
        updates: Updates = {
            **session_state.pickers(self.catalogue, name, method, own),
            **self.preparing.open(name),
            session_state.shown: shown,
            session_state.asked: asked,
        }
        without = [each for each, view in self.views.items() if not view.is_for(name, method)]
        if shown in without:
            shown = "search"
            updates |= {session_state.shown: shown, session_state.tabs: gr.Tabs(selected=shown)}
        view = self.views[shown]
        try:
            if method is not None:
                asked = asked or first_question(self.catalogue.open(name, method))
            opened = view.open(name, method, asked)
            hidden = self._hiding(without, shown if view.needs_gallery and method is None else None)
            return {**updates, session_state.asked: asked, **opened, self.style: hidden, **self._noticed("")}
        except CMRError as error:
            return {**updates, self.style: self._hiding(without, shown), **self._noticed(str(error))}

    @staticmethod
    def _hiding(without: list[str], closed: str | None) -> str:
        """Style that hides the tabs of some views, and the inside of one that cannot be opened."""
        tabs = [f"#cmr-tab-{name}-button" for name in without]
        return render("hiding", selectors=tabs + ([f"#cmr-tab-{closed}"] if closed else []))

    def _noticed(self, message: str) -> Updates:
        return {self.notice: gr.HTML(markup.notice(message) if message else "", visible=bool(message))}
