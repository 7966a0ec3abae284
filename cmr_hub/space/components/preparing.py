"""The panel of a gallery that is not on this machine yet: what it needs, one button, and how far it is."""

from __future__ import annotations

import gradio as gr

from ..services.catalogue import Catalogue
from ..services.preparation import Preparations
from . import markup
from .session_state import QUIET, SessionState, Updates

TICK = 2.0  # seconds between two looks at what is being prepared


class PreparingPanel:
    """What a gallery needs, with buttons that start and stop its preparation; to be made inside `gr.Blocks`.

    Args:
        catalogue: the galleries.
        preparations: those that are being made, for all browser sessions.
        session_state: the components that all views share.
    """

    def __init__(self, catalogue: Catalogue, preparations: Preparations, session_state: SessionState):
        self.catalogue, self.preparations = catalogue, preparations
        with gr.Column(visible=False, elem_id="cmr-prepare") as self.panel:
            self.needs = gr.HTML(apply_default_css=False)
            with gr.Row():
                self.prepare = gr.Button("Prepare", variant="primary", elem_id="cmr-start")
                self.stop = gr.Button("Stop", elem_id="cmr-stop")
        self.seen = gr.State(-1)
        self.arrived = gr.State("")
        self.timer = gr.Timer(TICK, active=False)
        self.page = [self.panel, self.needs, self.prepare, self.stop, self.seen, self.timer]
        self.prepare.click(self.on_prepare, [session_state.gallery], self.page, **QUIET)
        self.stop.click(self.on_stop, [session_state.gallery], self.page, **QUIET)
        self.timer.tick(self.look, [session_state.gallery, self.seen], [*self.page, self.arrived], **QUIET)

    def open(self, name: str) -> Updates:
        """The panel as it stands for a gallery. As long as it shows, it keeps watch: others may press the button."""
        entry, progress = self.catalogue[name], self.preparations[name]
        is_active = progress is not None and progress.is_active
        again = progress is not None and progress.state in ("stopped", "failed")
        return {
            self.seen: self.preparations.version,
            self.panel: gr.update(visible=entry.can_prepare),
            self.needs: markup.needs(entry, progress),
            self.prepare: gr.Button("Go on" if again else "Prepare", visible=not is_active),
            self.stop: gr.Button(visible=is_active),
            self.timer: gr.Timer(active=entry.can_prepare),
        }

    def on_prepare(self, name: str) -> Updates:
        """The one click. Where the page offers no preparation, none is started."""
        if self.catalogue[name].can_prepare:
            self.preparations.start(name)
        return self.open(name)

    def on_stop(self, name: str) -> Updates:
        """A second thought; another visitor sees it too."""
        self.preparations.stop(name)
        return self.open(name)

    def look(self, name: str, seen: int) -> Updates:
        """What is new since the last look. A gallery that has arrived is opened."""
        progress = self.preparations[name]
        if self.preparations.version == seen:
            return {self.seen: seen}
        arrived = {self.arrived: name} if progress is not None and progress.state == "done" else {}
        return {**self.open(name), **arrived}
