import threading
import time

import pytest

from cmr_hub.encoders.parallel import map_in_order, prefetch
from cmr_hub.errors import InputError


def test_prefetching_keeps_order_and_passes_errors_on():
    def numbers():
        yield from range(3)
        raise InputError("the fourth")

    seen = []
    with pytest.raises(InputError, match="the fourth"):
        seen.extend(prefetch(numbers()))
    assert list(prefetch(range(5))) == [0, 1, 2, 3, 4]
    assert list(prefetch([])) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_errors_in_their_turn(workers):
    def slow_at_first(number):
        time.sleep(0.02 / (1 + number))
        if number == 5:
            raise InputError("the sixth")
        return 2 * number

    assert list(map_in_order(slow_at_first, range(5), workers)) == [0, 2, 4, 6, 8]
    assert list(map_in_order(slow_at_first, [], workers)) == []
    results = map_in_order(slow_at_first, range(9), workers)
    assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]
    with pytest.raises(InputError, match="the sixth"):
        next(results)


def test_several_threads_work_at_once_and_few_items_are_taken_ahead():
    both_arrived = threading.Barrier(2, timeout=10)
    taken = []

    def items():
        for number in range(6):
            taken.append(number)
            yield number

    results = map_in_order(lambda number: both_arrived.wait() >= 0, items(), workers=2)
    assert next(results)
    assert taken == [0, 1, 2]
    assert all(results)
