"""The stage that decodes, in Ray's workers, block by block."""

import json
import logging
import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musicssl.errors import AudioError, MusicSSLError, NoAudioError
from musicssl.folder.archives import Archive, is_archive
from musicssl.folder.dataset import result_digest
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.reading import OpenFile, Reading, Taken, opened
from musicssl.folder.records import READ, Record
from musicssl.inference.jobs import AudioStream, PartedStream, events_of

log = logging.getLogger(__name__)

LONG = 600.0  # seconds; what is longer is decoded where it is encoded, in constant memory
# What goes to the next stage: a record as JSON with its samples, or what is to be opened, pickled.
DECODED = pa.schema({"record": pa.binary(), "audio": pa.large_binary(), "item": pa.large_binary()})


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How files become samples at the model's rate."""

    sample_rate: int
    hop: int
    resampler: str
    mono: str
    extensions: frozenset[str]
    offset: float = 0.0  # seconds, and so is duration: the part of each member of a tar
    duration: float | None = None
    long: float = LONG

    def opened(self, taken: Taken) -> tuple[Reading, AudioStream | PartedStream | MusicSSLError]:
        """Return a file that is open, or what is wrong with it."""
        item, seen = taken
        file = OpenFile(item.path, seen, threading.Event(), origin=item.origin)
        reading = Reading(item, seen, file)
        (stream,) = opened(
            file,
            [reading],
            sample_rate=self.sample_rate,
            resampler=self.resampler,
            mono=self.mono,
        )
        return reading, stream

    def describe(self, reading: Reading) -> Record:
        """Return the record of a file that was read to its end."""
        assert reading.file.source is not None
        about = reading.describe(reading.file.source, sample_rate=self.sample_rate, hop=self.hop)
        return record_of(reading.item, reading.seen) | about


def record_of(item: Item, seen: FileStat) -> Record:
    """Return what is known of a file unread."""
    return {"source": item.key, "path": item.name, **seen.facts, **item.about}


def failure(item: Item, seen: FileStat, error: MusicSSLError) -> Record:
    """Return the record of a file that cannot be used."""
    if isinstance(error, NoAudioError) and not item.given:
        return record_of(item, seen) | {"status": "passed over", "reason": "without sound"}
    why = str(error).removeprefix(f"{item.name}: ")
    return record_of(item, seen) | {"status": "failed", "error": why}


@dataclass(frozen=True, kw_only=True)
class Decode:
    """The stage on CPUs: a block of items to a block of samples, a row a file.

    Parameters
    ----------
    decoding
        How.
    done
        Sorted digests of sources that have a result: members of tar files that were not read to
        their end.
    """

    decoding: Decoding
    done: NDArray[np.uint64]

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Decode.

        Yields
        ------
        pyarrow.Table
            As `DECODED`; a row each, of which Ray makes blocks of limited size.
        """
        for cell in items.column("item"):
            taken: Taken | str = pickle.loads(cell.as_py())
            if isinstance(taken, str):
                yield _row({"source": taken, "path": taken, "status": "skipped"})
            elif is_archive(taken[0]):
                yield from self._archive(taken[0])
            else:
                yield self._decoded(taken)

    def _archive(self, item: Item) -> Iterator[pa.Table]:
        passed_over: Counter[str] = Counter()
        seen = FileStat()
        skipped = 0

        def look(member: Item) -> Taken | None:
            nonlocal skipped
            member = member.cut(self.decoding.offset, self.decoding.duration)
            if not is_done(self.done, member, member.seen()):
                return member, member.seen()
            skipped += 1
            return None

        try:
            archive = Archive(item, self.decoding.extensions)
            seen = archive.seen
            for taken in archive.members(passed_over, look):
                yield self._decoded(taken)
        except OSError as error:
            yield _row(failure(item, seen, AudioError(error.strerror or str(error))))
        except AudioError as error:
            yield _row(failure(item, seen, error))
        else:
            yield _row(
                record_of(item, seen)
                | {"status": READ, "members": archive.music, "passed over": dict(passed_over)}
                | {"skipped": skipped}
            )

    def _decoded(self, taken: Taken) -> pa.Table:
        item, seen = taken
        try:
            reading, stream = self.decoding.opened(taken)
            if isinstance(stream, MusicSSLError):
                raise stream
            blocks: list[NDArray[np.float32]] = []
            with stream:
                for _, event in events_of(stream):
                    if isinstance(event, MusicSSLError):
                        raise event
                    if event is not None:
                        blocks.append(event)
                    if sum(map(len, blocks)) > self.decoding.long * self.decoding.sample_rate:
                        return _row(record_of(item, seen), item=pickle.dumps(taken))
            record = self.decoding.describe(reading)
            return _row(record, audio=np.concatenate(blocks).tobytes())
        except MusicSSLError as error:
            return _row(failure(item, seen, error))
        except Exception as error:
            log.debug("unforeseen", exc_info=error)
            what = MusicSSLError(f"{item.name}: {type(error).__name__}: {error}")
            return _row(failure(item, seen, what))


def _row(record: Record, *, audio: bytes | None = None, item: bytes | None = None) -> pa.Table:
    line = json.dumps(record).encode()
    return pa.table({"record": [line], "audio": [audio], "item": [item]}, schema=DECODED)


def is_done(done: NDArray[np.uint64], item: Item, seen: FileStat) -> bool:
    """Tell whether a file has a result, of which `done` holds the digests, sorted."""
    key = np.uint64(result_digest(record_of(item, seen)))
    place = int(np.searchsorted(done, key))
    return place < len(done) and bool(done[place] == key)
