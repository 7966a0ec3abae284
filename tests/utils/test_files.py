import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cmr_hub.errors import CheckpointError, InputError, UnwritableError
from cmr_hub.utils import files
from cmr_hub.utils.files import atomic_file, atomic_folder, cache_folder, file_names, is_scratch, reading
from killing import fresh_copy, killed_everywhere

# A folder saved with many and one with few files; "mine.txt" is nobody's.
MANY = {"config.json": "many", "a/part.json": "many", "part-0": "many", "part-1": "many", "part-2": "many"}
FEW = {"config.json": "few", "part-0": "few"}


def save(folder, content, replaces=("a/*", "part-*")):
    with atomic_folder(folder, replaces=replaces) as scratch:
        for name, text in content.items():
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_text(text)


def commit(folder, content):
    """A save that is killed right after its commit."""
    for _ in killed_everywhere(lambda: save(folder, content), lambda: None):
        if (folder / files.COMMITTED).is_dir():
            return


def contents(folder):
    return {name: (folder / name).read_text() for name in file_names(folder)}


def test_replaces_files_and_keeps_others(tmp_path):
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "config.json").write_text("old")
    (target / "notes.txt").write_text("mine")
    with atomic_folder(target) as scratch:
        (scratch / "config.json").write_text("new")
        (scratch / "sub").mkdir()
        (scratch / "sub" / "more.json").write_text("more")
    assert {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*") if path.is_file()} == {
        "config.json": "new",
        "notes.txt": "mine",
        "sub/more.json": "more",
    }


def test_files_that_are_replaced_all_together(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for content in (MANY, FEW, MANY):
        save(tmp_path, content)
        assert contents(tmp_path) == {**content, "mine.txt": "mine"}


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_files(tmp_path, failure):
    (tmp_path / "config.json").write_text("old")

    def save():
        with atomic_folder(tmp_path) as scratch:
            (scratch / "config.json").write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        save()
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == "old"


def test_a_failure_leaves_no_new_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "new"):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taken", "taken is a file, and a folder is to be written"),
        ("taken/inside/deep", "taken is a file, and a folder is to be written"),
        ("dangling", "dangling is a file, and a folder is to be written"),
        ("x" * 300, "is no name of a folder: File name too long"),
        ("a\0b", "is no name of a folder: embedded null byte"),
        (None, "is empty: give one"),
    ],
)
def test_what_cannot_be_a_folder_is_refused(tmp_path, name, message):
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    target = "" if name is None else f"{tmp_path}/{name}"
    with pytest.raises(UnwritableError, match=message), atomic_folder(target) as scratch:
        (scratch / "config.json").write_text("new")
    assert (tmp_path / "taken").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "taken"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_this_user_may_not_write_to(tmp_path, monkeypatch, is_there):
    def refused(path, *args, **kwargs):
        if not path.exists():
            raise PermissionError(errno.EACCES, "Permission denied")

    if is_there:
        (tmp_path / "checkpoint").mkdir()
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UnwritableError, match=r"cannot be made: Permission denied\. Give another folder"):
        save(tmp_path / "checkpoint", FEW)


def test_atomic_file(tmp_path):
    with atomic_file(tmp_path / "a" / "run.json") as scratch:
        scratch.write_text("{}")
    assert (tmp_path / "a" / "run.json").read_text() == "{}"
    assert os.listdir(tmp_path / "a") == ["run.json"]


class TestKills:
    @pytest.mark.parametrize(("old", "new"), [(MANY, FEW), (FEW, MANY), ({}, MANY)])
    def test_a_kill_leaves_all_old_or_all_new_files(self, tmp_path, old, new):
        before, folder = tmp_path / "before", tmp_path / "folder"
        before.mkdir()
        save(before, old)
        (before / "mine.txt").write_text("mine")
        states = []
        for _ in killed_everywhere(lambda: save(folder, new), lambda: fresh_copy(before, folder)):
            with reading(folder):
                states.append(contents(folder))
        either = [{**content, "mine.txt": "mine"} for content in (old, new)]
        assert all(state in either for state in states)
        switched = states.index(either[1])
        assert switched > 0, "a save that was killed early counts"
        assert states[switched:] == [either[1]] * (len(states) - switched)

    def test_a_reader_that_is_killed_while_it_finishes_a_save(self, tmp_path):
        folder, committed = tmp_path / "folder", tmp_path / "committed"
        folder.mkdir()
        save(folder, MANY)
        commit(folder, FEW)
        fresh_copy(folder, committed)

        def read():
            with reading(folder):
                pass

        for _ in killed_everywhere(read, lambda: fresh_copy(committed, folder)):
            with reading(folder):
                assert contents(folder) == FEW

    def test_the_next_save_finishes_the_one_before_and_removes_leftovers(self, tmp_path):
        commit(tmp_path, MANY)
        (tmp_path / ".writing-old").mkdir()  # of an earlier version, which had no lock
        with atomic_file(tmp_path / "config.json") as scratch:
            scratch.write_text("newer")
        assert contents(tmp_path) == {**MANY, "config.json": "newer"}
        assert not any(map(is_scratch, os.listdir(tmp_path)))

    def test_leftovers_of_the_living_stay(self, tmp_path):
        with atomic_folder(tmp_path) as scratch:
            (scratch / "config.json").write_text("outer")
            with atomic_file(tmp_path / "run.json") as other:
                other.write_text("inner")
            assert scratch.exists()
        assert contents(tmp_path) == {"config.json": "outer", "run.json": "inner"}

    def test_a_real_kill(self, tmp_path):
        program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parent)]!r}
from pathlib import Path
from cmr_hub.utils.files import atomic_folder
print("ready", flush=True)
while True:
    for text, count in (("many", 9), ("few", 3)):
        with atomic_folder({str(tmp_path)!r}, replaces=("part-*",)) as scratch:
            for number in range(count):
                (scratch / f"part-{{number}}").write_text(text)
"""
        chance = random.Random(0)
        for _ in range(4):
            process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.01, 0.1))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            with reading(tmp_path):
                found = contents(tmp_path)
            assert found in ({}, {f"part-{i}": "many" for i in range(9)}, {f"part-{i}": "few" for i in range(3)})
        save(tmp_path, FEW)
        assert not any(map(is_scratch, os.listdir(tmp_path)))


class TestReaders:
    def test_readers_never_see_a_mixture(self, tmp_path):
        save(tmp_path, FEW)
        stopped, seen = threading.Event(), []

        def read():
            while not stopped.is_set():
                with reading(tmp_path):
                    seen.append(contents(tmp_path))

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for content in (MANY, FEW) * 4:
            save(tmp_path, content)
        stopped.set()
        for reader in readers:
            reader.join()
        assert all(one in (MANY, FEW) for one in seen)
        assert len(seen) > 3

    def test_a_block_within_a_block_does_not_wait_for_itself(self, tmp_path):
        save(tmp_path, FEW)
        with reading(tmp_path):
            writer = threading.Thread(target=save, args=[tmp_path, MANY])
            writer.start()
            while not (tmp_path / files.COMMITTED).exists():
                time.sleep(0.001)
            with reading(tmp_path):
                assert contents(tmp_path) == FEW
            with pytest.raises(InputError, match="while it is read"):
                save(tmp_path, MANY)
        writer.join()
        assert contents(tmp_path) == MANY

    def test_writers_do_not_mix(self, tmp_path):
        writers = [
            threading.Thread(target=lambda content=content: [save(tmp_path, content) for _ in range(10)])
            for content in (MANY, FEW, MANY)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert contents(tmp_path) in (MANY, FEW)
        assert not any(map(is_scratch, os.listdir(tmp_path)))

    def test_a_read_only_folder_that_is_to_be_finished(self, tmp_path, monkeypatch):
        commit(tmp_path, MANY)

        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(CheckpointError, match=r"interrupted and cannot be finished.*Permission denied.*may write"):
            reading(tmp_path).__enter__()

    @pytest.mark.parametrize("removed", [["../mine.txt"], ["link/mine.txt"], [1], 1])
    def test_what_leads_out_of_the_folder_is_not_followed(self, tmp_path, removed):
        folder = tmp_path / "folder"
        (folder / ".committed" / "files").mkdir(parents=True)
        (folder / "link").symlink_to(tmp_path)
        (folder / ".committed" / "removed.json").write_text(json.dumps(removed))
        (folder / ".committed" / "files" / "config.json").write_text("{}")
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(CheckpointError, match="cannot be finished"):
            reading(folder).__enter__()
        assert (tmp_path / "mine.txt").read_text() == "mine"

    def test_files_are_not_moved_into_other_folders(self, tmp_path):
        folder = tmp_path / "folder"
        (folder / ".committed" / "files" / "link").mkdir(parents=True)
        (folder / ".committed" / "files" / "link" / "config.json").write_text("{}")
        (folder / "link").symlink_to(tmp_path)
        with pytest.raises(CheckpointError, match=r"link/config.json.* leads out of the folder"):
            reading(folder).__enter__()
        assert not (tmp_path / "config.json").exists()

    @pytest.mark.parametrize("outside", [False, True])
    def test_a_record_that_cannot_be_read_is_not_waited_for(self, tmp_path, outside):
        record = tmp_path / "folder" / ".committed" / "removed.json"
        record.parent.mkdir(parents=True)
        record.symlink_to("/dev/zero") if outside else os.mkfifo(record)
        with pytest.raises(CheckpointError, match=r"removed\.json"):
            reading(tmp_path / "folder").__enter__()

    @pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("/tmp")])
    def test_what_is_no_folder_of_a_save(self, tmp_path, make):
        make(tmp_path / ".committed")
        with pytest.raises(CheckpointError, match=r"committed is no folder that a save left. Remove it"):
            save(tmp_path, FEW)

    @pytest.mark.parametrize("content", [MANY, {"config.json": "one"}])
    def test_a_folder_in_the_place_of_a_file_is_found_before_the_commit(self, tmp_path, content):
        (tmp_path / "config.json").mkdir()
        with pytest.raises(CheckpointError, match=r"config\.json is a folder, and a file is saved there"):
            save(tmp_path, content)
        assert os.listdir(tmp_path) == ["config.json"]

    def test_locks_are_not_made_outside(self, tmp_path):
        folder = tmp_path / "folder"
        (folder / ".writing-1").mkdir(parents=True)
        (folder / ".writing-1" / "lock").symlink_to(tmp_path / "outside")
        save(folder, FEW)
        (folder / ".writing-lock").symlink_to(tmp_path / "outside")
        with pytest.raises(CheckpointError, match=r"lock is a link or folder.* Remove it"):
            save(folder, MANY)
        assert not (tmp_path / "outside").exists()
        assert contents(folder) == FEW


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    save(tmp_path, MANY)
    with reading(tmp_path):
        assert contents(tmp_path) == MANY


def test_cache_folder_follows_the_environment(private_cache):
    assert cache_folder("features") == private_cache / "features"
