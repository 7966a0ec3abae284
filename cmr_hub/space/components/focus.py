"""The slider of the focus, for models whose embeddings have a class part and an item part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr

from cmr_hub.modeling.parts import NEUTRAL
from cmr_hub.retrieval.gallery import Gallery

from ..services.queries import Asked

STEP = 0.05


def focus_slider(**options: Any) -> gr.Slider:
    """The slider, hidden until a gallery is open whose model has both parts."""
    return gr.Slider(
        0,
        1,
        value=NEUTRAL,
        step=STEP,
        label="Focus",
        info="0: same kind, 1: this very thing",
        min_width=180,
        buttons=[],
        visible=False,
        **options,
    )


def focus_update(galleries: Iterable[Gallery], asked: Asked) -> gr.Slider:
    """The slider at the focus of a question; hidden where no gallery's model has both parts."""
    defaults = [gallery.retriever.default_focus for gallery in galleries]
    default = next((default for default in defaults if default is not None), None)
    value = default if asked.focus is None else asked.focus
    return gr.Slider(value=NEUTRAL if value is None else value, visible=default is not None)
