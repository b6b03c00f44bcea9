"""The threads of `embed_folder`: each decodes, encodes and writes, so that no core waits."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from musicssl.errors import MusicSSLError, NoAudioError, OutputError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import DISK, TakenError, reason
from musicssl.folder.reading import OpenFile, Reading, Stopped, Taken, opened
from musicssl.folder.records import GONE, Record
from musicssl.inference.batching import Engine
from musicssl.inference.crew import Crew, start_thread
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
    threads: int  # that encode for each, where there are fewer files than cores
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
        # Not Thread.join: interrupted there, Python 3.11 takes a thread that runs for ended.
        ended: list[threading.Event] = []
        try:
            for _ in range(self.jobs):
                end = threading.Event()
                start_thread(partial(self._work, end), "musicssl-embed")
                ended.append(end)
            for event in ended:
                while not event.wait(0.2):  # a limit, so that Ctrl-C comes through everywhere
                    pass
        finally:
            self.stop.set()
            for event in ended:
                event.wait()
            torch.set_num_threads(torch.get_num_threads())  # of threads to come, as here
        for error in self.fatal:
            raise error

    def _work(self, ended: threading.Event) -> None:
        try:
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

        with Crew(self.threads) if self.threads > 1 else nullcontext() as crew:
            return self._finish_all(
                Engine(self.model, self.settings, crew).run(sources()), under_way
            )

    def _finish_all(self, results: Iterator[Result], under_way: deque[Reading]) -> bool:
        """Write results as they come; tell whether something unforeseen has ended that."""
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
        return OpenFile(item.path, seen, self.stop, origin=item.origin)

    def _open(
        self, file: OpenFile, readings: list[Reading]
    ) -> Iterator[AudioStream | PartedStream | MusicSSLError]:
        rate = self.model.sample_rate
        return opened(file, readings, sample_rate=rate, resampler=self.resampler, mono=self.mono)

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
            model = self.model
            about = reading.describe(source, sample_rate=model.sample_rate, hop=model.hop)
            self._write(record | about, row)

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
