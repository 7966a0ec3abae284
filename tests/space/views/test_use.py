"""The view that takes what is on screen elsewhere, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from cmr_hub.retrieval.gallery import Gallery
from cmr_hub.space.components.session_state import SessionState
from cmr_hub.space.components.snippets import client_lines, mcp_settings, python_lines
from cmr_hub.space.services.queries import Asked, Query
from cmr_hub.space.views.use import UseView, card_of
from small_space import bundled_catalogue

ASKED = Asked(Query("item", "apple"), "text", 2)
ADDRESS = "https://some.host/hub/"


@pytest.fixture
def view(catalogue: Any) -> UseView:
    with gr.Blocks(analytics_enabled=False):
        return UseView(catalogue, SessionState.lay_out(catalogue))


def test_it_shows_the_question_as_code(view: UseView, gallery: Gallery):
    update = view.open("small", "cca", ASKED)
    assert update[view.python] == python_lines(view.catalogue["small"], "cca", gallery, ASKED)
    then = view.show(update[view.opened], ADDRESS)
    assert then[view.client] == client_lines(ADDRESS, "small", "cca", ASKED, gallery)
    assert then[view.settings] == mcp_settings(ADDRESS)


def test_a_page_that_only_loads_shows_nothing(view: UseView):
    assert view.show(None, ADDRESS) == gr.skip()


def test_a_model_without_a_card_says_so(view: UseView, gallery: Gallery, tmp_path: Path, monkeypatch: Any):
    assert "no card" in view.open("small", "cca", ASKED)[view.card]
    monkeypatch.setattr(gallery.retriever, "folder", tmp_path)
    assert "cmr publish" in card_of(gallery)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n\nKnows *colours*.\n")
    assert card_of(gallery).strip() == "# Mine\n\nKnows *colours*."


@pytest.mark.slow
def test_a_bundled_card_comes_without_its_metadata():
    card = card_of(bundled_catalogue(["emoji"]).open("emoji", "cca"))
    assert card.lstrip().startswith("#")
    assert "model-index" not in card
    assert "## Training" in card
