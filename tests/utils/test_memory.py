"""A budget that threads share: nothing exceeds it, nothing starves, and waiting ends."""

import threading
import time

import pytest

from cmr_hub.errors import BusyError
from cmr_hub.utils.memory import MemoryBudget


def run_all(works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def taken():
    """A budget of 100 whose 60 are held by another thread until `release` is set."""
    budget, release, holds = MemoryBudget(100), threading.Event(), threading.Event()

    def hold():
        with budget.hold(60):
            holds.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(10)
    yield budget, release
    release.set()
    thread.join(10)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_what_is_held_at_once_never_exceeds_the_budget():
    budget, most = MemoryBudget(100), []

    def work(size):
        with budget.hold(size):
            most.append(budget.held)
            time.sleep(0.002)

    run_all([lambda size=size: work(size) for size in [30, 70, 5, 100, 250, 55] * 5])
    assert len(most) == 30
    assert max(most) <= 100
    assert budget.held == 0


def test_an_error_gives_its_part_back():
    budget = MemoryBudget(100)
    with pytest.raises(KeyError), budget.hold(100):
        raise KeyError
    assert budget.held == 0


def test_turns_are_taken_in_order(taken):
    budget, release = taken
    done = []

    def work(size):
        with budget.hold(size):
            done.append(size)

    threads = []
    for size in (100, 10):  # the second would fit at once, and must not overtake the first again and again
        threads.append(threading.Thread(target=work, args=[size]))
        threads[-1].start()
        wait_until(lambda: len(budget._waiting) == len(threads))
    release.set()
    for thread in threads:
        thread.join(10)
    assert done == [100, 10]


def test_small_work_does_not_wait(taken):
    budget, _ = taken
    with budget.hold(40), budget.hold(1):
        assert budget.held == 100


def test_waiting_ends(taken):
    budget, _ = taken
    budget.patience = 0.01
    with pytest.raises(BusyError, match=r"waited 0\.01 seconds for memory\. Try again"), budget.hold(50):
        pass
    assert not budget._waiting


def test_no_more_wait_than_may(taken):
    budget, release = taken
    budget.most_waiting = 1
    waiting = threading.Thread(target=lambda: budget.hold(50).__enter__())
    waiting.start()
    wait_until(lambda: budget._waiting)
    with pytest.raises(BusyError, match="1 other large images are waiting to be opened"), budget.hold(50):
        pass
    release.set()
    waiting.join(10)
