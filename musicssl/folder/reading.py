"""What `embed_folder` reads: files under way, or parts of one that are decoded together."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path
from queue import Full, Queue
from typing import Self

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import Source
from musicssl.errors import MusicSSLError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.moves import content_of
from musicssl.inference.parts import Event, Part, Parts

Block = NDArray[np.float32]
Taken = tuple[Item, FileStat]


class Stopped(Exception):
    """The run is being broken off; what is under way is discarded."""


def by_file(todo: Iterator[Taken]) -> Iterator[list[Taken]]:
    """Yield what is read together: parts of one file that follow each other, or a whole file."""
    numbers = count()
    for _, taken in groupby(
        todo, key=lambda one: next(numbers) if one[0].start is None else one[0].path
    ):
        yield list(taken)


@dataclass(eq=False)
class OpenFile:
    """A file that is being read; heeds `stop`."""

    path: Path
    seen: FileStat
    stop: threading.Event
    ahead: bool  # decode in a thread meanwhile
    source: Source | None = None
    started: float = field(default_factory=time.perf_counter)
    _content: list[str | None] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """Decode.

        Yields
        ------
        numpy.ndarray, shape (samples,)
            As `Source.blocks`.

        Raises
        ------
        Stopped
            If the run is broken off.
        """
        assert self.source is not None
        blocks = self.source.blocks()
        for block in read_ahead(blocks) if self.ahead else blocks:
            if self.stop.is_set():
                raise Stopped
            yield block

    def close(self) -> None:
        """Release the file."""
        if self.source is not None:
            self.source.close()

    def content(self) -> str | None:
        """Return a hash of all of the file, computed once; see `content_of`."""
        if not self._content:
            self._content.append(content_of(self.path, self.seen.size, self.seen.mtime_ns))
        return self._content[0]


@dataclass(eq=False)
class Reading:
    """One result under way: of a file, or of a part of it."""

    item: Item
    seen: FileStat
    file: OpenFile
    samples: int = 0
    peak: float = 0.0

    def count(self, block: Block) -> None:
        """Take note of samples that were heard."""
        self.samples += len(block)
        if len(block):
            self.peak = max(self.peak, float(np.abs(block).max()))


class WholeFile:
    """A file as an `AudioStream` that counts what it gives."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reading.file.close()

    def blocks(self) -> Iterator[Block]:
        """Yield the source's blocks."""
        for block in self.reading.file.blocks():
            self.reading.samples += len(block)
            yield block


class FileParts(Parts):
    """Parts of one file that count what they give."""

    def __init__(self, source: Source, readings: list[Reading]) -> None:
        items = [reading.item for reading in readings]
        parts = [Part(item.start or 0.0, item.end, str(item.path), item.word) for item in items]
        super().__init__(source, parts)
        self.readings = readings

    def blocks(self) -> Iterator[Block]:
        """Yield the source's blocks."""
        return self.readings[0].file.blocks()

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield what is new."""
        for i, event in super().events():
            if event is not None and not isinstance(event, MusicSSLError):
                self.readings[i].count(event)
            yield i, event


def read_ahead(blocks: Iterator[Block], depth: int = 6) -> Iterator[Block]:
    """Yield what `blocks` yields, computed meanwhile in a thread, up to `depth` ahead."""
    waiting: Queue[Block | BaseException | None] = Queue(depth)
    over = threading.Event()

    def put(item: Block | BaseException | None) -> None:
        while not over.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except Full:
                continue

    def fill() -> None:
        try:
            for block in blocks:
                put(block)
                if over.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        thread.join()
