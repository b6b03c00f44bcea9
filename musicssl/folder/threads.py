"""The threads of `embed_folder`: each decodes, encodes and writes, so that no core waits."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from musicssl.audio import Source, open_source
from musicssl.errors import AudioError, MusicSSLError, NoAudioError, OutputError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import DISK, TakenError, reason
from musicssl.folder.reading import FileParts, OpenFile, Reading, Stopped, Taken, WholeFile
from musicssl.folder.records import GONE, Record
from musicssl.frames import frame_count
from musicssl.inference.batching import Engine
from musicssl.inference.jobs import AudioStream, PartedStream
from musicssl.inference.options import Settings
from musicssl.inference.results import Embedding, Result
from musicssl.model import MusicEncoder

log = logging.getLogger(__name__)


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
    take: Callable[[], list[Taken] | None]  # the next file, or parts of it
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
        except Stopped:
            pass
        except BaseException as error:
            self.fatal.append(error)
            self.stop.set()
        finally:
            ended.set()

    def _pass(self) -> bool:
        """Embed until there is no file left (False) or something unforeseen happens (True)."""
        under_way: deque[Reading] = deque()

        def sources() -> Iterator[AudioStream | PartedStream | MusicSSLError]:
            while (taken := self._take()) is not None:
                file = self._file(*taken[0])
                readings = [Reading(item, seen, file) for item, seen in taken]
                under_way.extend(readings)
                yield from self._open(file, readings)

        results = Engine(self.model, self.settings).run(sources())
        while True:
            try:
                result = next(results, None)
            except Stopped:
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
                raise Stopped
            self._finish(under_way.popleft(), result)

    def _take(self) -> list[Taken] | None:
        try:
            return None if self.stop.is_set() else self.take()
        except Exception as error:
            self.fatal.append(error)
            self.stop.set()
            raise Stopped from error

    def _file(self, item: Item, seen: FileStat) -> OpenFile:
        return OpenFile(item.path, seen, self.stop, ahead=self.threads > 1)

    def _open(
        self, file: OpenFile, readings: list[Reading]
    ) -> Iterator[AudioStream | PartedStream | MusicSSLError]:
        """Yield a file to read, or for each of its readings what is wrong with it."""
        error: MusicSSLError | None = None
        if (wrong := readings[0].item.error) is not None:
            error = AudioError(f"{file.path}: {wrong}")
        else:
            try:
                rate = self.model.sample_rate
                file.source = open_source(
                    file.path, sample_rate=rate, resampler=self.resampler, mono=self.mono
                )
            except MusicSSLError as found:
                error = found
            except OSError as found:
                error = AudioError(f"{file.path}: {reason(found)}")
        if error is not None or file.source is None:
            yield from [error or AudioError(f"{file.path}: not opened")] * len(readings)
        elif readings[0].item.start is None:
            yield WholeFile(readings[0])
        else:
            yield FileParts(file.source, readings)

    def _alone(self, reading: Reading) -> None:
        """Embed one file in the smallest batches, so that only the cause of a failure fails."""
        if self.stop.is_set():
            raise Stopped
        settings = replace(self.settings, batch_size=1)
        reading.file = self._file(reading.item, reading.seen)
        reading.samples, reading.peak = 0, 0.0
        try:
            (result,) = Engine(self.model, settings).run(self._open(reading.file, [reading]))
        except Stopped:
            raise
        except MusicSSLError as error:
            result = error
        except Exception as error:
            log.debug("unforeseen", exc_info=error)
            result = MusicSSLError(f"{reading.item.path}: {type(error).__name__}: {error}")
        self._finish(reading, result)

    def _finish(self, reading: Reading, result: Result) -> None:
        """Write a result, or note what was wrong."""
        item, source = reading.item, reading.file.source
        record: Record = {"source": item.key, "path": item.name, **reading.seen.facts}
        record |= item.about
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

    def _describe(self, reading: Reading, source: Source) -> Record:
        """Return what the manifest says of a file that was read to its end."""
        whole = reading.item.start is None
        return {
            "status": "ok",
            "duration": round(reading.samples / self.model.sample_rate, 6),
            "duration_promised": source.promised and round(source.promised, 6) if whole else None,
            "sample_rate": source.native_rate,
            "channels": source.channels,
            "frames": frame_count(reading.samples, self.model.hop),
            "truncated": source.truncated,
            "damaged": source.damaged,
            "peak": round(source.peak if whole else reading.peak, 6),
            "content": reading.file.content(),
            "mount": reading.item.mount,
            "seconds": round(time.perf_counter() - reading.file.started, 3),  # that of its batch
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


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
