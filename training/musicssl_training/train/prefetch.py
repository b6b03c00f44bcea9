"""Read the next step's data while this step's is being learnt from."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """What `read` gives for one step after the other, always one or more ahead, in a thread.

    Parameters
    ----------
    read
        Takes the number of a step; must depend on nothing else that changes.
    first
        The step to begin with.
    depth
        How many steps to be ahead.
    """

    def __init__(self, read: Callable[[int], T], first: int, depth: int = 2) -> None:
        self._read, self._next = read, first
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._waiting: list[Future[T]] = []
        for _ in range(depth):
            self._submit()

    def _submit(self) -> None:
        self._waiting.append(self._pool.submit(self._read, self._next))
        self._next += 1

    def get(self) -> tuple[T, float]:
        """Return the next step's data and the seconds that were spent waiting for it."""
        began = time.perf_counter()
        data = self._waiting.pop(0).result()
        waited = time.perf_counter() - began
        self._submit()
        return data, waited

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)
