"""What all tests share: the real data where they are present, a private cache, and stand-ins on loopback."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

pytest_plugins = ["hub_server", "file_server", "small_checkpoints"]

REPOSITORY = Path(__file__).resolve().parents[1]
# Converting a network takes seconds; the tests of backends ask for them by name.
os.environ.setdefault("CMR_HUB_BACKEND", "torch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules with slow tests first: with several workers, the last files to run are short ones."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt all that is imported from garbage collection: accelerate asks for it in each training, half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def volatile_files() -> Iterator[None]:
    """Files need not survive a loss of power: each training flushes dozens, and waits for the disk each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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
