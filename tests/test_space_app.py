from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from cmr_hub.data import list_datasets
from cmr_hub.space.services.preparation import PREPARED_WHEN_HOSTED

ENTRY = Path(__file__).resolve().parents[1] / "space_app.py"


@pytest.mark.slow
def test_entry_point_can_be_imported_as_hugging_face_does(private_cache: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("SPACE_ID", "CMR_HUB_PREPARE"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("space_app", ENTRY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.demo, gr.Blocks)
    assert set(PREPARED_WHEN_HOSTED) <= set(list_datasets())


def test_entry_point_tells_its_options_without_starting_a_server():
    told = subprocess.run([sys.executable, ENTRY, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--checkpoint" in told.stdout
    wrong = subprocess.run([sys.executable, ENTRY, "--prot", "7861"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "--port" in wrong.stderr
