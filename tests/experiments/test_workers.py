import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from cmr_hub.errors import TrainingError, UnknownNameError
from cmr_hub.experiments.workers import machine, work
from counting import Counting, Failing

REPOSITORY = Path(__file__).resolve().parents[2]


def test_one_process_is_this_one_and_gets_its_threads_back(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        outcomes = list(work(partial(Counting, 5, tmp_path), ["a", "b"], 1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [outcome[:2] for outcome in outcomes] == [("a", 5), ("b", 5)]
    assert {outcome[2:4] for outcome in outcomes} == {(os.getpid(), 1)}


@pytest.mark.slow
def test_several_processes_have_one_thread_each_and_tell_what_is_done_first(tmp_path):
    outcomes = list(work(partial(Counting, 5, tmp_path), ["last", "a", "b"], 2))
    assert [outcome[0] for outcome in outcomes] == ["a", "b", "last"]
    assert os.getpid() not in {outcome[2] for outcome in outcomes}
    assert {outcome[3] for outcome in outcomes} == {1}
    assert all(threads <= {1} for *_, threads in outcomes)


UNKNOWN = UnknownNameError("method", "dscrm", ["cca", "dscmr"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "task", "expected", "message"),
    [
        (UNKNOWN, "any", UnknownNameError, "Did you mean 'dscmr'"),
        (None, ZeroDivisionError("by nothing"), ZeroDivisionError, "by nothing"),
        (None, "die", TrainingError, r"One of 2 training processes was killed.*--jobs.*SIGKILL"),
    ],
    ids=["on start", "in a task", "killed"],
)
def test_a_failure_in_a_process_is_named(error, task, expected, message):
    with pytest.raises(expected, match=re.compile(message, re.DOTALL)):
        list(work(partial(Failing, error), [task, task], 2))


PARENT = """
import sys
import time
from pathlib import Path
from cmr_hub.experiments.workers import work

class Sleeping:
    def do(self, folder):
        import os
        (folder / str(os.getpid())).touch()
        time.sleep(600)

list(work(Sleeping, [Path(sys.argv[1])] * 2, 2))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_processes_end_with_the_one_that_started_them(name, tmp_path):
    ended = signal.Signals[name]
    restore = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], cwd=REPOSITORY, stderr=subprocess.DEVNULL, preexec_fn=restore
    )
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2 or parent.poll() is not None, 120)
        assert parent.poll() is None
        parent.send_signal(ended)
        assert parent.wait(30) != 0
        processes = [int(path.name) for path in tmp_path.iterdir()]
        wait_until(lambda: not any(map(runs, processes)), 30)
    finally:
        parent.kill()
        parent.wait()


def wait_until(condition, seconds):
    """Return once the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def runs(process):
    """Whether a process of this number is there and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_machine_is_told_for_people():
    assert "one training at a time, a thread each" in machine(1)
    assert "3 trainings at a time" in machine(3)
