"""The threads of `embed_folder`: each decodes, encodes and writes, so that no core waits."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import Full, Queue
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl.audio import Source, open_source
from musicssl.errors import AudioError, MusicSSLError, NoAudioError, OutputError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.moves import content_of
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import DISK, TakenError, reason
from musicssl.folder.records import GONE, Record
from musicssl.frames import frame_count
from musicssl.inference.batching import AudioStream, Engine
from musicssl.inference.options import Settings
from musicssl.inference.results import Embedding, Result
from musicssl.model import MusicEncoder

log = logging.getLogger(__name__)
Block = NDArray[np.float32]


class _Stopped(Exception):
    """The run is being broken off; what is under way is discarded."""


@dataclass(eq=False)
class _Reading:
    """A file under way: an `AudioStream` that counts what it gives and heeds `stop`."""

    item: Item
    seen: FileStat
    stop: threading.Event
    ahead: bool
    source: Source | None = None
    samples: int = 0
    started: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.source is not None
        self.source.close()

    def blocks(self) -> Iterator[Block]:
        """Yield the source's blocks."""
        assert self.source is not None
        blocks = self.source.blocks()
        for block in read_ahead(blocks) if self.ahead else blocks:
            if self.stop.is_set():
                raise _Stopped
            self.samples += len(block)
            yield block


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


@dataclass(eq=False)
class EmbedThreads:
    """Threads that take files one after the other until there are none.

    There is no plan of bundles: each thread runs an `Engine` of its own over the files as it
    takes them, and the engine encodes short ones together.
    """

    model: MusicEncoder
    settings: Settings
    resampler: str
    mono: str
    output: Output
    take: Callable[[], tuple[Item, FileStat] | None]  # the next file
    announce: Callable[[Record], None]  # onto the manifest
    report: Callable[[Record], None]  # to whoever counts
    jobs: int
    threads: int  # inside each, of torch
    stop: threading.Event
    fatal: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        """Work until all is done, `stop` is set, or something is wrong that all files share.

        Raises
        ------
        KeyboardInterrupt
            When asked for; files under way were discarded.
        OutputError
            If results cannot be written.
        """
        before = torch.get_num_threads()
        # Not Thread.join: interrupted there, Python 3.11 takes a thread that runs for ended.
        ended = [threading.Event() for _ in range(self.jobs)]
        threads = [threading.Thread(target=self._work, args=(e,), daemon=True) for e in ended]
        try:
            for thread in threads:
                thread.start()
            for event in ended:
                while not event.wait(0.2):  # a limit, so that Ctrl-C comes through everywhere
                    pass
        finally:
            self.stop.set()
            for thread, event in zip(threads, ended, strict=True):
                if thread.ident is not None:  # it was started
                    event.wait()
            torch.set_num_threads(before)
        for error in self.fatal:
            raise error

    def _work(self, ended: threading.Event) -> None:
        try:
            torch.set_num_threads(self.threads)
            while self._pass():
                pass
        except _Stopped:
            pass
        except BaseException as error:
            self.fatal.append(error)
            self.stop.set()
        finally:
            ended.set()

    def _pass(self) -> bool:
        """Embed until there is no file left (False) or something unforeseen happens (True)."""
        under_way: deque[_Reading] = deque()

        def sources() -> Iterator[AudioStream | MusicSSLError]:
            while (taken := self._take()) is not None:
                under_way.append(_Reading(*taken, stop=self.stop, ahead=self.threads > 1))
                yield self._open(under_way[-1])

        results = Engine(self.model, self.settings).run(sources())
        while True:
            try:
                result = next(results, None)
            except _Stopped:
                raise
            except Exception as error:
                if not under_way:
                    raise
                log.debug("a batch failed; its files are tried alone", exc_info=error)
                for reading in under_way:
                    self._alone(reading)
                return True
            if result is None:
                return False
            if self.stop.is_set():
                raise _Stopped
            self._finish(under_way.popleft(), result)

    def _take(self) -> tuple[Item, FileStat] | None:
        try:
            return None if self.stop.is_set() else self.take()
        except Exception as error:
            self.fatal.append(error)
            self.stop.set()
            raise _Stopped from error

    def _open(self, reading: _Reading) -> AudioStream | MusicSSLError:
        item = reading.item
        reading.samples, reading.started = 0, time.perf_counter()
        if item.error is not None:
            return AudioError(f"{item.path}: {item.error}")
        try:
            rate = self.model.sample_rate
            source = open_source(
                item.path, sample_rate=rate, resampler=self.resampler, mono=self.mono
            )
        except MusicSSLError as error:
            return error
        except OSError as error:
            return AudioError(f"{item.path}: {reason(error)}")
        reading.source = source
        return reading

    def _alone(self, reading: _Reading) -> None:
        """Embed one file in the smallest batches, so that only the cause of a failure fails."""
        if self.stop.is_set():
            raise _Stopped
        settings = replace(self.settings, batch_size=1)
        try:
            (result,) = Engine(self.model, settings).run(iter([self._open(reading)]))
        except _Stopped:
            raise
        except MusicSSLError as error:
            result = error
        except Exception as error:
            log.debug("unforeseen", exc_info=error)
            result = MusicSSLError(f"{reading.item.path}: {type(error).__name__}: {error}")
        self._finish(reading, result)

    def _finish(self, reading: _Reading, result: Result) -> None:
        """Write a result, or note what was wrong."""
        item, source = reading.item, reading.source
        record: Record = {"source": item.key, "path": str(item.path), **reading.seen._asdict()}
        if isinstance(result, NoAudioError) and not item.given:
            self._drop(item.key)
            self.announce(record | {"status": GONE})
            self.report(record | {"status": "passed over", "reason": "without sound"})
        elif isinstance(result, MusicSSLError):
            self._fail(record, result)
        else:
            assert source is not None
            values, times = result if isinstance(result, Embedding) else (result, None)
            row = Row(item.key, np.asarray(values), None if times is None else np.asarray(times))
            self._write(record | self._describe(reading, source), row)

    def _write(self, record: Record, row: Row) -> None:
        output = self.output.out
        try:
            output = self.output.target(row.key)
            name = output.relative_to(self.output.out).as_posix()
            record |= {"output": name, "dim": row.values.shape[-1]}
            self.output.write(row, lambda: self.announce(record))
        except TakenError as error:
            self._fail(record, error)
        except OSError as error:
            why = OutputError(f"cannot write {output}: {reason(error)}.")
            if error.errno in DISK:
                raise why from error
            self._fail(record, why)
        else:
            self.report(record)

    def _describe(self, reading: _Reading, source: Source) -> Record:
        """Return what the manifest says of a file that was read to its end."""
        item, seen = reading.item, reading.seen
        return {
            "status": "ok",
            "duration": round(reading.samples / self.model.sample_rate, 6),
            "duration_promised": source.promised and round(source.promised, 6),
            "sample_rate": source.native_rate,
            "channels": source.channels,
            "frames": frame_count(reading.samples, self.model.hop),
            "truncated": source.truncated,
            "damaged": source.damaged,
            "peak": round(source.peak, 6),
            "content": content_of(item.path, seen.size, seen.mtime_ns),
            "mount": item.mount,
            "seconds": round(time.perf_counter() - reading.started, 3),  # that of its batch
        }

    def _drop(self, key: str) -> Record:
        """Remove an earlier result for a source; return what to note if it cannot be."""
        try:
            self.output.drop(key)
        except (OSError, TakenError) as error:  # where no result can be, there is none
            return {"left": True} if isinstance(error, OSError) else {}
        return {}

    def _fail(self, record: Record, error: MusicSSLError) -> None:
        kept = {name: record[name] for name in ("source", "path", "size", "mtime_ns")}
        why = str(error).removeprefix(f"{record['path']}: ")
        record = kept | {"status": "failed", "error": why} | self._drop(kept["source"])
        self.announce(record)
        self.report(record)
