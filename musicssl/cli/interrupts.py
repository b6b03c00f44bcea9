"""Ctrl-C: the first one stops in good order, the second at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

INTERRUPTED = 130  # exit code


@contextlib.contextmanager
def on_first_interrupt(action: Callable[[], object], then: Any) -> Iterator[None]:
    """Call `action` at the first Ctrl-C and leave the second to the handler `then`.

    Outside the main thread, which alone may have handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, then)
        action()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Let the first Ctrl-C raise KeyboardInterrupt and the second end the process.

    Unless somebody else's handler is there, which stays.
    """
    if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, _leave):
        yield
        return

    def stop() -> NoReturn:
        raise KeyboardInterrupt

    with on_first_interrupt(stop, signal.SIG_DFL):
        yield


def quiet_interrupts() -> None:
    """End at once on Ctrl-C as long as there is no work to put in order."""
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)
