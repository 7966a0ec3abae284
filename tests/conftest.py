"""What all tests share: the real data where they are present, a private cache, and stand-ins on loopback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["hub_server", "file_server", "small_checkpoints"]

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("CMR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent (set CMR_TEST_DATA)")
    return folder


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CMR_HUB_CACHE", str(folder))
    return folder
