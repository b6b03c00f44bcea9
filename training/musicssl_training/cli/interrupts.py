"""Ctrl-C that lets a step end before the command does."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from musicssl.cli.interrupts import on_first_interrupt


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Let the first Ctrl-C set an event and the second end the work at once."""
    stop = threading.Event()
    with on_first_interrupt(stop.set, signal.getsignal(signal.SIGINT)):
        yield stop
