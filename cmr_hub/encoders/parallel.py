"""Computing batches in several threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before it is used; an error reaches the user in its turn."""
    iterator: Iterator[Any] = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming: Future[Any] = thread.submit(next, iterator, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, iterator, end)
            yield item


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Like `map`, with the function called in `workers` threads; items are taken in the calling thread.

    Results come in the order of the items, and at most one item more than there are workers is taken ahead. With one
    worker everything runs in the calling thread.

    Raises:
        Exception: what the function raised, in its turn.

    Example:
    ```python
    >>> list(map_in_order(str.upper, ["a", "b", "c"], workers=2))
    ['A', 'B', 'C']
    ```
    """
    if workers < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
