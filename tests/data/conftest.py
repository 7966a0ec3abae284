"""A private cache for downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmr_hub.data import download


@pytest.fixture
def cache(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for downloads, and no pause between attempts."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", False)
    return private_cache / "data"
