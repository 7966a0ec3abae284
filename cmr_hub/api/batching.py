"""Requests that arrive while others are computed are computed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from cmr_hub.errors import BusyError

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Answers questions of concurrent requests in batches, in one thread.

    A question that finds nobody at work is answered at once. Those that come meanwhile are the next batch: nobody
    waits for a batch to fill up.

    Args:
        answer: gives the answers of several questions, an exception in the place of one that has none.
        most: questions of a batch.
        most_waiting: questions that may wait.
        on_batch: is told the size of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        most: int = 32,
        most_waiting: int = 2000,
        on_batch: Callable[[int], object] = lambda size: None,
    ):
        self.answer, self.most, self.most_waiting, self.on_batch = answer, most, most_waiting, on_batch
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._work: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many questions wait for the next batch."""
        return len(self._waiting)

    async def ask(self, question: Q) -> A:
        """The answer to one question.

        Raises:
            BusyError: too many wait already.
            Exception: what `answer` gave in the answer's place.
        """
        if self.waiting >= self.most_waiting:
            raise BusyError(f"{self.waiting} requests wait already. Try again in a moment.")
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        """Answer what waits until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
            batch = [(question, future) for question, future in batch if not future.cancelled()]
            if not batch:
                continue
            self.on_batch(len(batch))
            try:
                found = await loop.run_in_executor(self._thread, self.answer, [question for question, _ in batch])
                answers = list(zip(batch, found, strict=True))
            except Exception as error:
                answers = [(asked, error) for asked in batch]
            for (_, future), answer in answers:
                if future.cancelled():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def close(self) -> None:
        """Answer what still waits, and end the thread."""
        if self._work is not None:
            await self._work
        self._thread.shutdown()
