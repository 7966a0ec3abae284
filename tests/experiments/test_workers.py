import os
from functools import partial

import pytest
import torch

from cmr_hub.experiments.workers import machine, work
from counting import Counting


def test_one_process_is_this_one_and_gets_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        outcomes = list(work(partial(Counting, 5), ["a", "b"], 1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [outcome[:2] for outcome in outcomes] == [("a", 5), ("b", 5)]
    assert {outcome[2:4] for outcome in outcomes} == {(os.getpid(), 1)}


@pytest.mark.slow
def test_several_processes_have_one_thread_each_and_tell_what_is_done_first():
    outcomes = list(work(partial(Counting, 5), ["slow", "a", "b"], 2))
    assert {outcome[0] for outcome in outcomes} == {"slow", "a", "b"}
    assert outcomes[-1][0] == "slow" or len({outcome[2] for outcome in outcomes}) == 1
    assert os.getpid() not in {outcome[2] for outcome in outcomes}
    assert {outcome[3] for outcome in outcomes} == {1}
    assert all(threads <= {1} for *_, threads in outcomes)


def test_the_machine_is_told_for_people():
    assert "one training at a time, a thread each" in machine(1)
    assert "3 trainings at a time" in machine(3)
