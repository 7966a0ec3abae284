from __future__ import annotations

from pathlib import Path

import pytest

from cmr_hub.space.services import received_files
from cmr_hub.space.serving.routes import UploadQuota


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(received_files.VARIABLE, str(tmp_path))


def uploaded(size: int) -> Path:
    folder = received_files.new_folder()
    (folder / "file").write_bytes(bytes(size))
    return folder


def test_oldest_uploads_of_one_who_sends_too_much_give_way():
    quota = UploadQuota(most=100)
    other = uploaded(90)
    quota.add("other", other)
    mine = [uploaded(40) for _ in range(4)]
    for folder in mine:
        quota.add("me", folder)
    assert [folder.exists() for folder in (*mine, other)] == [False, False, True, True, True]
    large = uploaded(500)
    quota.add("me", large)  # the latest stays: it is about to be used
    assert [folder.exists() for folder in (*mine, large)] == [False] * 4 + [True]


def test_what_is_gone_counts_no_more():
    quota = UploadQuota(most=100)
    first, second = uploaded(90), uploaded(5)
    quota.add("me", first)
    quota.add("me", second)
    received_files.remove(first)
    quota.add("me", uploaded(90))
    assert second.exists()
