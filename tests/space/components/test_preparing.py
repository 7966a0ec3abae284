from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from cmr_hub.errors import UnknownNameError
from cmr_hub.space.components.preparing import PreparingPanel
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.services.preparation import Preparations
from small_space import bundled_catalogue


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> PreparingPanel:
    """Of a Space that offers emoji, which are ready, and pascal; what is started is remembered."""
    catalogue, preparations = bundled_catalogue(["emoji", "pascal"]), Preparations(lambda name: [])
    started: list[Any] = []
    monkeypatch.setattr(preparations, "start", lambda *names: started.extend(names))
    with gr.Blocks(analytics_enabled=False):
        panel = PreparingPanel(catalogue, preparations, SessionState.lay_out(catalogue))
    panel.started = started
    return panel


def test_only_what_the_page_offers_is_prepared(panel: Any):
    panel.on_prepare("pascal")
    assert panel.started == ["pascal"]
    ready = panel.on_prepare("emoji")
    assert not ready[panel.panel]["visible"]
    for other in ("wiki", "coco", "", None):
        with pytest.raises(UnknownNameError):
            panel.on_prepare(other)
    assert panel.started == ["pascal"]
