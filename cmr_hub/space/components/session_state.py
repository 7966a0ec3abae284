"""The state of one browser session that all views share: the gallery, the model, the view and the question."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..services.catalogue import Catalogue

Updates = dict[Any, Any]  # component -> its new value or properties
RUNS_AT_ONCE = 16  # an answer is short, and leaves the interpreter to others during its arithmetic
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": RUNS_AT_ONCE}


@dataclass(frozen=True)
class SessionState:
    """The components that every view reads, and that change what is shown.

    Attributes:
        gallery: the picker of galleries; its value is a name in the catalogue.
        method: the picker of the models that search it; its value is a key of the entry's sources.
        asked: what was asked last, in any view: a [`~cmr_hub.space.services.queries.Asked`], or None.
        own: the name of this session's own gallery, or None.
        tabs: the tabs.
        shown: the name of the view whose tab is open.
        moved: anything new in it opens the view that is shown.
    """

    gallery: gr.Dropdown
    method: gr.Dropdown
    asked: gr.State
    own: gr.State
    tabs: gr.Tabs
    shown: gr.State
    moved: gr.State

    @classmethod
    def lay_out(cls, catalogue: Catalogue) -> SessionState:
        """The two pickers, and tabs that are still empty; to be made inside `gr.Blocks`."""
        with gr.Row(elem_id="cmr-place"):
            gallery = gr.Dropdown(
                gallery_choices(catalogue),
                value=catalogue.default,
                label="Gallery",
                min_width=200,
                filterable=False,
                elem_id="cmr-gallery",
            )
            method = gr.Dropdown([], label="Model", min_width=140, elem_id="cmr-model")
        return cls(
            gallery,
            method,
            asked=gr.State(),
            own=gr.State(),
            tabs=gr.Tabs(elem_id="cmr-views", overflow_behavior="wrap", render=False),
            shown=gr.State("search"),
            moved=gr.State(0),
        )

    @property
    def going(self) -> list[Any]:
        """What [`go`] changes."""
        return [self.tabs, self.shown, self.moved]

    def go(self, view: str) -> Updates:
        """Open the tab of a view, by its name."""
        return {self.tabs: gr.Tabs(selected=view), self.shown: view, self.moved: time.monotonic_ns()}

    def pickers(self, catalogue: Catalogue, name: str, method: str | None, own: str | None) -> Updates:
        """The two pickers with all that can be picked in this session, at a gallery and one of its models."""
        models = [(source.title, key) for key, source in catalogue[name].sources.items()]
        return {
            self.gallery: gr.Dropdown(gallery_choices(catalogue, own), value=name),
            self.method: gr.Dropdown(models, value=method, visible=bool(models)),
        }


def gallery_choices(catalogue: Catalogue, own: str | None = None) -> list[tuple[str, str]]:
    """The galleries as the picker lists them: title and name, a session's own one last."""
    names = [*catalogue.names, *([own] if own and own in catalogue else [])]
    entries = [(name, catalogue[name]) for name in names]
    return [(entry.title if entry.is_ready else f"{entry.title} – to prepare", name) for name, entry in entries]
