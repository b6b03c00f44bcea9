"""Reading ahead: sources that are opened and decoded in threads before their turn comes."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from queue import Full, Queue
from typing import Generic, Self, TypeVar

from musicssl.errors import MusicSSLError
from musicssl.inference.jobs import AudioStream, PartedStream, events_of
from musicssl.inference.parts import Event

T = TypeVar("T")
Source = AudioStream | PartedStream | MusicSSLError
DEPTH = 6  # blocks ahead, of 10 s each


@dataclass(frozen=True)
class Opening:
    """A source that is still to be opened."""

    open: Callable[[], AudioStream | PartedStream]
    count: int = 1  # results that it will have
    elsewhere: bool = True  # may be read in another thread, beside others


def open_in_turn(openings: Sequence[Opening]) -> Generator[Source, None, None]:
    """Yield the sources, each opened when it is asked for; what is wrong stands in its place."""
    for opening in openings:
        try:
            yield opening.open()
        except MusicSSLError as error:
            yield from [error] * opening.count


def open_ahead(openings: Sequence[Opening], jobs: int) -> Generator[Source, None, None]:
    """Yield the sources, of which `jobs` are opened and decoded meanwhile.

    Parameters
    ----------
    openings
        In the order in which they will be read.
    jobs
        Sources under way, beside the one at hand.

    Yields
    ------
    AudioStream, PartedStream or MusicSSLError
        Each must be read to its end or closed before the next is asked for.
    """
    waiting = iter(openings)
    under_way: deque[Opening | _Ahead] = deque()
    try:
        while True:
            while len(under_way) <= jobs and (opening := next(waiting, None)) is not None:
                under_way.append(_Ahead(opening) if opening.elsewhere else opening)
            if not under_way:
                return
            first = under_way.popleft()
            yield from [first] if isinstance(first, _Ahead) else open_in_turn([first])
    finally:
        for left in under_way:
            if isinstance(left, _Ahead):
                left.close()


class _Ahead:
    """A source that a thread opens and decodes: a `PartedStream`."""

    def __init__(self, opening: Opening) -> None:
        self._count = opening.count
        self._events = Ahead(_events(opening))

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread."""
        self._events.close()

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield what is new."""
        return iter(self._events)


def _events(opening: Opening) -> Iterator[tuple[int, Event]]:
    """Open a source and yield what is new of it."""
    with opening.open() as source:
        yield from events_of(source)


class Ahead(Generic[T]):
    """What an iterator yields, computed meanwhile in a thread, up to `depth` ahead.

    Parameters
    ----------
    items
        What to compute. What it raises is raised here.
    depth
        At least 1.
    """

    def __init__(self, items: Iterator[T], depth: int = DEPTH) -> None:
        self._items = items
        self._waiting: Queue[tuple[T] | BaseException | None] = Queue(depth)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="musicssl-decode", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        try:
            while (found := self._waiting.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found[0]
        finally:
            self.close()

    def close(self) -> None:
        """Stop computing."""
        self._over.set()
        self._thread.join()

    def _put(self, found: tuple[T] | BaseException | None) -> None:
        while not self._over.is_set():
            try:
                self._waiting.put(found, timeout=0.1)
                return
            except Full:
                continue

    def _fill(self) -> None:
        try:
            for item in self._items:
                self._put((item,))
                if self._over.is_set():
                    break
            close = getattr(self._items, "close", None)
            if close is not None:  # of a generator that holds a file open
                close()
            self._put(None)
        except BaseException as error:
            self._put(error)
