"""Progress of long work on stderr: a bar on a terminal, elsewhere a line a minute.

What is logged or warned of meanwhile goes above the bar (`Lines`).
"""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
SAID = 60.0  # seconds between two lines, where there is no terminal


class Progress:
    """A count of what is done, with the time that is left.

    Parameters
    ----------
    total
        How many there are; None if that is not known.
    unit
        Of which, in the plural.
    what
        Name of the work, put in front.
    shown
        False for none, as in all processes but the first.
    """

    def __init__(self, total: int | None, unit: str, what: str = "", *, shown: bool = True) -> None:
        self.total, self.unit, self.what = total, unit, what
        self.stream = sys.stderr
        self.shown = shown and self.stream is not None
        self.done = self.before = 0
        self.note = ""
        self.began = self.said = time.monotonic()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        if self.shown and self.stream.isatty():
            left = "{elapsed}" if self.total is None else "{remaining} left"
            count = f"{{n_fmt}}/{{total_fmt}} {self.unit}, {left}{{postfix}}"
            self._bar = tqdm(
                total=self.total,
                desc=self.what or None,
                bar_format=f"{{l_bar}}{{bar}}| {count}",  # a narrow terminal cuts off the end
                dynamic_ncols=True,
                leave=False,
                file=self.stream,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.shown and self.said > self.began and self.done > self.before:
            self._say()  # a log that was begun is ended

    def resume(self, done: int, note: str = "") -> None:
        """Go on behind what an earlier run has done: it tells nothing of the time that is left."""
        self.done, self.before, self.note = done, done, note
        self.began = self.said = time.monotonic()
        if self._bar is not None:
            self._bar.n = self._bar.initial = self._bar.last_print_n = done
            self._bar.start_t = self._bar.last_print_t = time.time()  # the clock of tqdm
            self._bar.set_postfix_str(note)

    def update(self, n: int = 1, note: str = "") -> None:
        """Note that `n` more are done; `note` tells more of them."""
        self.done += n
        self.note = note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
        elif self.shown and time.monotonic() - self.said >= SAID:
            self._say()

    def _say(self) -> None:
        self.said = now = time.monotonic()
        parts = [f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,}"]
        rate = (self.done - self.before) / max(now - self.began, 1e-9)
        if self.total and rate and self.done < self.total:
            parts.append(f"{tqdm.format_interval((self.total - self.done) / rate)} left")
        text = ", ".join([*parts, *([self.note] if self.note else [])])
        print(f"{self.what}: {text}" if self.what else text, file=self.stream, flush=True)


def track(items: Iterable[T], unit: str, what: str = "", total: int | None = None) -> Iterator[T]:
    """Yield items, showing how many are done.

    Yields
    ------
    T
        Each in its turn; it is done when the next is asked for.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, unit, what) as progress:
        for item in items:
            yield item
            progress.update()


class Lines(logging.Handler):
    """Writes what is logged to stderr, and above the bar that may be there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            write_line(self.format(record))
        except Exception:
            self.handleError(record)


def write_line(text: str) -> None:
    """Write a line to stderr, above the bar that may be there."""
    if sys.stderr is not None:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


@contextlib.contextmanager
def lines_of_warnings() -> Iterator[None]:
    """Write each of Python's warnings as one line, above the bar that may be there."""

    def show(message: Warning | str, *_: Any, file: TextIO | None = None, **__: Any) -> None:
        write_line(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
