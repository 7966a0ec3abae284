"""The view that takes what is on screen elsewhere: as code, over the API, as tools of an agent; and the card."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import gradio as gr

from cmr_hub.errors import CheckpointError
from cmr_hub.hub import read_card
from cmr_hub.retrieval.gallery import Gallery

from ..components.rendering import render
from ..components.session_state import QUIET, Updates
from ..components.snippets import client_lines, mcp_settings, python_lines
from ..services.queries import Asked
from .base import GalleryView

HAS_MCP = find_spec("mcp") is not None  # then `page.launch` serves it
# No language: the editor's colours for one are too faint on white to be read by everybody.
CODE: dict[str, Any] = {
    "interactive": False,
    "wrap_lines": True,
    "show_line_numbers": False,
    "buttons": ["copy"],
    "lines": 1,
}
# Only the browser knows for certain by which address the page is reached, whatever stands between it and the server.
ADDRESS = "(opened) => [opened, new URL('.', location.origin + location.pathname).href]"


class UseView(GalleryView):
    """What is on screen, as code, as tools of an agent, and the card of the model."""

    name = "use"
    title = "Use it"

    @property
    def page(self) -> list[Any]:
        """What needs no address; the rest follows."""
        return [self.python, self.about, self.card, self.opened]

    def _connect(self) -> None:
        inputs, outputs = [self.opened, self.address], [self.client, self.settings]
        self.opened.change(self.show, inputs, outputs, js=ADDRESS, **QUIET)

    def _lay_out(self) -> None:
        self.python = gr.Code(label="This question in Python", elem_id="cmr-python", **CODE)
        self.client = gr.Code(
            label="The same, answered by this server (pip install gradio_client)",
            elem_id="cmr-client",
            **CODE,
        )
        self.settings = gr.Code(
            label="The searches as tools of an agent: settings for a client of the Model Context Protocol",
            visible=HAS_MCP,
            elem_id="cmr-mcp",
            **CODE,
        )
        gr.HTML(render("use_without_mcp"), visible=not HAS_MCP, apply_default_css=False)
        self.about = gr.HTML(apply_default_css=False)
        self.card = gr.Markdown(elem_id="cmr-card")
        self.address = gr.Textbox(visible=False)
        self.opened = gr.State()

    def open_gallery(self, name: str, method: str, asked: Asked) -> Updates:
        """What needs no address at once; the rest as soon as the browser has told it."""
        gallery, entry = self.catalogue.open(name, method), self.catalogue[name]
        return {
            self.python: python_lines(entry, method, gallery, asked),
            self.about: render("card_heading", name=gallery.retriever.name or "this model"),
            self.card: card_of(gallery),
            self.opened: (asked, name, method, time.monotonic_ns()),
        }

    def show(self, opened: tuple[Asked, str, str, int] | None, address: str) -> Updates:
        """What is run against this server."""
        if opened is None:  # a page that loads reports the first value of a state as a change
            return gr.skip()
        asked, name, method, _ = opened
        gallery = self.catalogue.open(name, method)
        return {
            self.client: client_lines(address, name, method, asked, gallery),
            self.settings: mcp_settings(address),
        }


def card_of(gallery: Gallery) -> str:
    """The card of a gallery's model as Markdown, without the metadata that only machines read."""
    folder = gallery.retriever.folder
    try:
        return read_card(folder / "README.md").text if folder is not None else "This model has no card."
    except CheckpointError:
        return "This model has no card. `cmr publish` writes one."
