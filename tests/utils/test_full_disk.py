import errno
import os
import pickle
import sqlite3

import pytest
from safetensors import SafetensorError

from cmr_hub.errors import DiskFullError
from cmr_hub.utils.files import atomic_file, atomic_folder
from cmr_hub.utils.full_disk import naming_full_disk

# As they come from a full file system.
ERRORS = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    RuntimeError("basic_ios::clear: iostream error"),
    sqlite3.OperationalError("database or disk is full"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_a_full_disk_name_the_folder_and_say_what_to_do(error):
    message = r"written to out/run\. .* Free some space and run the same command again"
    with pytest.raises(DiskFullError, match=message), naming_full_disk("out/run"):
        raise error


def test_what_an_error_was_raised_from_counts():
    refused = pytest.raises(DiskFullError, match="written to outer")
    with refused, naming_full_disk("outer"), naming_full_disk("inner"):
        try:
            raise ERRORS[0]
        except OSError as error:
            raise ValueError("cannot be saved") from error


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), ValueError("wrong"), KeyboardInterrupt()]
)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as raised, naming_full_disk("out"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_what_was_there_stays_when_the_disk_is_full(tmp_path, atomic):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").write_text("old")
    target = tmp_path / "run" / "a.json" if atomic is atomic_file else tmp_path / "run"
    with pytest.raises(DiskFullError, match=rf"written to {tmp_path / 'run'}\."), atomic(target):
        raise ERRORS[0]
    assert [path.read_text() for path in (tmp_path / "run").iterdir()] == ["old"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not a Linux")
def test_a_device_that_is_full(tmp_path):
    with pytest.raises(DiskFullError), naming_full_disk(tmp_path), open("/dev/full", "w") as file:
        file.write("x" * 100_000)


def test_the_error_is_the_same_in_another_process():
    error = DiskFullError("The disk is full")
    assert str(pickle.loads(pickle.dumps(error))) == "The disk is full"
