"""Small folders that pass for checkpoints, alone and bundled, and this process as a client of the loopback Hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cmr_hub.utils import hub
from hub_server import HubServer

CARD = """\
---
license: apache-2.0
model-index:
- name: dscmr-emoji
  results:
  - task: {type: cross-modal-retrieval}
    dataset: {name: Emoji, type: emoji, split: test}
    metrics:
    - {type: map_i2t, value: 0.62}
---
# A checkpoint
"""


def make_checkpoint(folder: Path, *, method: str = "dscmr", image_encoder: str = "efficientnet-lite0") -> Path:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text(json.dumps({"model_type": method}))
    encoders = {"image_encoder": {"name": image_encoder}, "text_encoder": {"name": "glove"}}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "CMRProcessor", **encoders}))
    save_file({"weight": np.arange(2000, dtype=np.float32)}, folder / "model.safetensors")
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "emoji.yaml").write_text("- dataset: {id: cmr/emoji, task_id: a}\n  value: 0.62\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled checkpoints that holds dscmr-emoji and cca-wiki."""
    folder = tmp_path / "model_cards"
    make_checkpoint(folder / "dscmr-emoji")
    make_checkpoint(folder / "cca-wiki", method="cca", image_encoder="precomputed")
    monkeypatch.setattr(hub, "bundled_folder", lambda: folder)
    return folder


@pytest.fixture
def connected(hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The loopback Hub, with this process as its client and an empty cache."""
    hub_server.connect(monkeypatch, tmp_path / "home")
    return hub_server
