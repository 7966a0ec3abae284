import sys

import pytest

from cmr_hub.utils.processes import Process, this_process


def test_a_program_started_alone_is_all_there_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)  # nothing is connected, so nothing is imported
    process = this_process()
    assert (process.rank, process.count, process.is_main, process.is_alone) == (0, 1, True, True)
    process.wait()
    assert process.share([3, 1, 2]) == [3, 1, 2]


@pytest.mark.parametrize(("n", "count"), [(0, 2), (1, 3), (7, 3), (9, 3)])
def test_shares_are_everything_once_and_as_long(n, count):
    shares = [Process(rank, count).share(range(n)) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
