import errno

import pytest

from cmr_hub.utils.files import atomic_file, atomic_folder, cache_folder


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


def test_atomic_file(tmp_path):
    with atomic_file(tmp_path / "a" / "run.json") as scratch:
        scratch.write_text("{}")
    assert (tmp_path / "a" / "run.json").read_text() == "{}"


def test_cache_folder_follows_the_environment(private_cache):
    assert cache_folder("features") == private_cache / "features"
