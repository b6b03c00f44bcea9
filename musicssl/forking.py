"""Forks, and the end of the process: what locks and native threads do not survive by themselves."""

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator

LONGEST_WAIT = 60.0  # seconds that the end of a process waits for native code

_change = threading.Condition()
_running = 0  # threads in native code
_ending = False
_forked = False  # and torch's threads were not seen to since


class Lock:
    """A lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._renew()
        _in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the end of the process wait for what is done in here.

    Python ends daemon threads wherever they next ask for the interpreter. Where that is in C++,
    as in torch and soxr, the whole process aborts. Daemon threads that come here once the process
    ends stay here.
    """
    global _running
    with _change:
        while _ending and threading.current_thread().daemon:
            _change.wait()
        _running += 1
    try:
        yield
    finally:
        with _change:
            _running -= 1
            _change.notify_all()


def heed_fork() -> None:
    """In a forked child, let torch compute in one thread.

    Its pool of threads (OpenMP's) was not copied, and computing would wait for it for ever.
    """
    global _forked
    if _forked:
        import torch

        _forked = False
        torch.set_num_threads(1)


def cuda_is_lost() -> bool:
    """Tell whether this is a forked child of a process that used CUDA: here it cannot be used."""
    import torch

    lost = getattr(torch.cuda, "_is_in_bad_fork", None)
    return bool(lost and lost())


def _in_child(renew: Callable[[], None]) -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


def _begin_child() -> None:
    global _change, _running, _forked
    _change, _running, _forked = threading.Condition(), 0, True


def _end() -> None:
    global _ending
    with _change:
        _ending = True
        _change.wait_for(lambda: not _running, LONGEST_WAIT)


_in_child(_begin_child)
atexit.register(_end)
