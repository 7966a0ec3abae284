import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmr_hub.api.batching import Batcher
from cmr_hub.errors import BusyError, InputError


def in_a_loop(coroutine):
    """What a coroutine gives; a thread of its own has no loop yet, whatever other tests left in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def test_what_arrives_while_others_are_computed_is_answered_together():
    may_go = threading.Event()
    sizes = []

    def answer(questions):
        may_go.wait(10)
        return [2 * question for question in questions]

    async def ask_all():
        batcher = Batcher(answer, most=4, on_batch=sizes.append)
        asked = [asyncio.create_task(batcher.ask(number)) for number in range(10)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 6
        may_go.set()
        answers = await asyncio.gather(*asked)
        await batcher.close()
        return answers

    assert in_a_loop(ask_all()) == [2 * number for number in range(10)]
    assert sizes == [4, 4, 2]


def test_one_without_an_answer_does_not_spoil_the_others_and_a_failure_reaches_all():
    def answer(questions):
        if "bad" in questions:
            raise RuntimeError("broken")
        return [InputError("no") if question == "no" else question.upper() for question in questions]

    async def ask(*questions):
        batcher = Batcher(answer)
        return await asyncio.gather(*map(batcher.ask, questions), return_exceptions=True)

    answers = in_a_loop(ask("a", "no", "b"))
    assert answers[0] == "A"
    assert isinstance(answers[1], InputError)
    assert answers[2] == "B"
    assert [str(error) for error in in_a_loop(ask("a", "bad"))] == ["broken", "broken"]


def test_questions_that_nobody_waits_for_any_more_are_not_answered():
    answered = []
    may_go = threading.Event()

    def answer(questions):
        may_go.wait(10)
        answered.extend(questions)
        return questions

    async def ask():
        batcher = Batcher(answer, most=1)
        tasks = [asyncio.create_task(batcher.ask(number)) for number in range(3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0)
        may_go.set()
        await batcher.close()
        return await tasks[2]

    assert in_a_loop(ask()) == 2
    assert answered == [0, 2]


def test_too_many_that_wait_are_refused():
    may_go = threading.Event()

    def answer(questions):
        may_go.wait(10)
        return questions

    async def ask():
        batcher = Batcher(answer, most=1, most_waiting=2)
        tasks = [asyncio.create_task(batcher.ask(0))]
        await asyncio.sleep(0.05)  # it is being answered
        tasks += [asyncio.create_task(batcher.ask(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 requests wait already"):
            await batcher.ask(3)
        may_go.set()
        return await asyncio.gather(*tasks)

    assert in_a_loop(ask()) == [0, 1, 2]


def test_an_answer_too_few_is_an_error_for_all():
    async def ask():
        batcher = Batcher(lambda questions: questions[1:])
        return await asyncio.gather(batcher.ask(0), batcher.ask(1), return_exceptions=True)

    assert [type(error) for error in in_a_loop(ask())] == [ValueError, ValueError]
