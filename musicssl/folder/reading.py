"""What `embed_folder` reads: files under way, or parts of one that are decoded together."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import Source, open_source
from musicssl.errors import AudioError, MusicSSLError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.moves import content_of
from musicssl.folder.origin import Origin
from musicssl.folder.paths import reason
from musicssl.folder.records import Record
from musicssl.frames import frame_count
from musicssl.inference.jobs import AudioStream, PartedStream
from musicssl.inference.parts import Event, Part, Parts

Block = NDArray[np.float32]
Taken = tuple[Item, FileStat]


class Stopped(Exception):
    """The run is being broken off; what is under way is discarded."""


def by_file(todo: Iterator[Taken]) -> Iterator[list[Taken]]:
    """Yield what is read together: parts of one file that follow each other, or a whole file."""
    numbers = count()
    for _, taken in groupby(
        todo, key=lambda one: next(numbers) if one[0].start is None else one[0].name
    ):
        yield list(taken)


@dataclass(eq=False)
class OpenFile:
    """A file that is being read; heeds `stop`."""

    path: Path
    seen: FileStat
    stop: threading.Event
    origin: Origin | None = None  # of what is no file on a disk
    source: Source | None = None
    started: float = field(default_factory=time.perf_counter)
    _content: list[str | None] = field(default_factory=list)
    _opened: BinaryIO | None = None

    def open(self) -> Path | BinaryIO:
        """Return what is to be decoded."""
        if self.origin is None:
            return self.path
        self._opened = self.origin.open()
        return self._opened

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
        for block in self.source.blocks():
            if self.stop.is_set():
                raise Stopped
            yield block

    def close(self) -> None:
        """Release the file."""
        if self.source is not None:
            self.source.close()
        if self._opened is not None:
            self._opened.close()

    def content(self) -> str | None:
        """Return a hash of all of the file, computed once; see `content_of`."""
        if self.origin is not None:
            return None
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

    def describe(self, source: Source, *, sample_rate: int, hop: int) -> Record:
        """Return what the manifest says of a file that was read to its end.

        Parameters
        ----------
        source
            What was read.
        sample_rate, hop
            The model's.
        """
        whole = self.item.start is None
        return {
            "status": "ok",
            "duration": round(self.samples / sample_rate, 6),
            "duration_promised": source.promised and round(source.promised, 6) if whole else None,
            "sample_rate": source.native_rate,
            "channels": source.channels,
            "frames": frame_count(self.samples, hop),
            "truncated": source.truncated,
            "damaged": source.damaged,
            "peak": round(source.peak if whole else self.peak, 6),
            "content": self.file.content(),
            "mount": self.item.mount,
            "seconds": round(time.perf_counter() - self.file.started, 3),  # that of its batch
        }


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
        parts = [Part(item.start or 0.0, item.end, item.name, item.word) for item in items]
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


def opened(
    file: OpenFile, readings: list[Reading], *, sample_rate: int, resampler: str, mono: str
) -> Iterator[AudioStream | PartedStream | MusicSSLError]:
    """Yield a file to read, or for each of its readings what is wrong with it."""
    error: MusicSSLError | None = None
    item = readings[0].item
    if item.error is not None:
        error = AudioError(f"{item.name}: {item.error}")
    else:
        try:
            file.source = open_source(
                file.open(), sample_rate=sample_rate, resampler=resampler, mono=mono
            )
        except MusicSSLError as found:
            error = found
        except OSError as found:
            error = AudioError(f"{item.name}: {reason(found)}")
    if error is not None or file.source is None:
        file.close()
        yield from [error or AudioError(f"{item.name}: not opened")] * len(readings)
    elif item.start is None:
        yield WholeFile(readings[0])
    else:
        yield FileParts(file.source, readings)
