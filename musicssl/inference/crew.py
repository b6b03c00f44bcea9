"""Threads that share the work of an embedding: each computes in one thread of torch's own.

Torch can put several threads into each operation instead. These wait for each other, spinning,
at the end of every one, of which there are thousands a minute of audio: where another process
has one of the cores, that takes ten times as long as one thread alone. Threads that each have
a batch of their own wait for nothing.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Self

import torch

from musicssl.cores import usable_cores

GPU_JOBS = 8  # they take turns on it; more only decode


def default_jobs(device: torch.device) -> int:
    """Return how many files or batches to work on at a time in this thread's place.

    One per usable core, or up to 8 decoders where a GPU encodes; on a CPU no more than the threads
    that torch may use here: one in a DataLoader's worker, a share in joblib's processes.
    """
    if device.type != "cpu":
        return min(usable_cores(), GPU_JOBS)
    allowed = torch.get_num_threads()
    return min(usable_cores(), allowed) if allowed > 1 else 1


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread in which torch computes in one thread; elsewhere nothing changes."""
    before = torch.get_num_threads()
    ready = threading.Event()

    def run() -> None:
        try:
            torch.get_num_threads()  # or else the first operation would ask for the default
            torch.set_num_threads(1)
        finally:
            ready.set()
        work()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        ready.wait()
    finally:
        if before != 1:
            torch.set_num_threads(before)  # the default of threads to come, which that changed
    return thread


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone meanwhile, as in the threads of a `Crew`."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Task:
    """A call whose result is there later."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._over = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it."""
        try:
            self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._over.is_set()

    def wait(self) -> None:
        """Return when it is over; raises what it raised."""
        while not self._over.wait(0.2):  # a limit, so that Ctrl-C comes through everywhere
            pass
        if self._error is not None:
            raise self._error


class Crew:
    """Up to `jobs` threads that do what they are given, begun as they are needed.

    Parameters
    ----------
    jobs
        At least 1.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._threads: list[threading.Thread] = []
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads without a task, less the tasks that wait
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Wait for what is under way; what is not begun is left undone."""
        self._over = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, call: Callable[[], object]) -> Task:
        """Have something done; without a thread to spare it waits its turn."""
        task = Task(call)
        with self._lock:
            self._idle -= 1
            more = self._idle < 0 and len(self._threads) < self.jobs
        self._tasks.put(task)
        if more:
            self._threads.append(start_thread(self._work, "musicssl-encode"))
        return task

    def _work(self) -> None:
        with self._lock:
            self._idle += 1
        while (task := self._tasks.get()) is not None and not self._over:
            task.run()
            with self._lock:
                self._idle += 1
