from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cmr_hub.utils.private_folder import PrivateFolder


def test_only_its_user_looks_into_it_and_removing_leaves_nothing(tmp_path: Path):
    folder = PrivateFolder("mine-", tmp_path)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "image.png").write_bytes(b"private")
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_processes_are_removed_and_those_in_use_are_not(tmp_path: Path):
    in_use = PrivateFolder("mine-", tmp_path)
    left = tmp_path / "mine-left"
    left.mkdir()
    (left / "image.png").write_bytes(b"private")
    (tmp_path / "mine-left.lock").touch()
    other = PrivateFolder("mine-", tmp_path)
    assert in_use.path.exists()
    assert not left.exists()
    for folder in (in_use, other):
        folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_lock_that_somebody_planted_leads_nowhere(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("stays")
    (tmp_path / "mine-planted").symlink_to(theirs)
    (tmp_path / "mine-planted.lock").symlink_to(theirs / "file")
    PrivateFolder("mine-", tmp_path).remove()
    assert (theirs / "file").read_text() == "stays"


def test_it_goes_with_its_process(tmp_path: Path):
    code = (
        "import sys; from cmr_hub.utils.private_folder import PrivateFolder as P; print(P('mine-', sys.argv[1]).path)"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert Path(ended.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
