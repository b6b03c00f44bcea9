"""Stages of the work on a cluster: what runs in Ray's workers, block by block."""

import json
import logging
import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from musicssl.errors import AudioError, ModelError, MusicSSLError, NoAudioError
from musicssl.folder.archives import READ, Archive, is_archive
from musicssl.folder.dataset import result_digest
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.origin import Held
from musicssl.folder.reading import OpenFile, Reading, Taken, opened
from musicssl.folder.records import Record
from musicssl.folder.remote import remote_item
from musicssl.inference.batching import Engine
from musicssl.inference.jobs import AudioStream, PartedStream, events_of
from musicssl.inference.options import Settings
from musicssl.inference.results import Embedding, Result
from musicssl.model import MusicEncoder
from musicssl.source_names import absolute, is_url, listed_name

log = logging.getLogger(__name__)

BATCHES = 4  # of audio that are decoded at a time: among many, lengths are more alike
LONG = 600.0  # seconds; what is longer is decoded where it is encoded, in constant memory
# Between the stages: a record as JSON with its samples, or what is to be opened, pickled.
DECODED = pa.schema({"record": pa.binary(), "audio": pa.large_binary(), "item": pa.large_binary()})
ENCODED = pa.schema({"record": pa.binary(), "values": pa.binary(), "times": pa.binary()})


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
    return {"source": item.key, "path": item.name, **seen.facts, **item.part}


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
            if not _is_done(self.done, member, member.seen()):
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


class _Samples:
    """Samples that are there, as an `AudioStream`."""

    def __init__(self, audio: NDArray[np.float32]) -> None:
        self.audio = audio

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all of them."""
        yield self.audio


class Encode:
    """The stage that holds the model, on a GPU where it has one: samples to vectors.

    Parameters
    ----------
    model
        On the CPU, or Ray's reference to it.
    settings
        Of the engine, which makes batches of pieces of nearly one length.
    decoding
        For what is too long to come as samples.
    device
        Where to compute.
    """

    def __init__(
        self, model: Any, settings: Settings, decoding: Decoding, device: str = "cpu"
    ) -> None:
        if not isinstance(model, MusicEncoder):
            import ray

            model = ray.get(model)
        if device == "cpu":
            torch.set_num_threads(1)  # every core has an actor or decodes
        self.model: MusicEncoder = model.to(device)
        self.settings, self.decoding = settings, decoding

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encode a block of `DECODED` rows, to `ENCODED` ones in the same order."""
        lines = [json.loads(cell.as_py()) for cell in block.column("record")]
        todo = [i for i, line in enumerate(lines) if line.get("status") in (None, "ok")]
        try:
            found = self._encoded(block, todo, self.settings)
        except ModelError:
            raise
        except Exception as error:
            log.debug("a block failed; its files are tried alone", exc_info=error)
            found = [self._alone(block, i) for i in todo]
        data: dict[str, list[bytes | None]] = {name: [] for name in ENCODED.names}
        results = dict(zip(todo, found, strict=True))
        for i, line in enumerate(lines):
            record, result = results.get(i, (line, None))
            values, times = result if isinstance(result, Embedding) else (result, None)
            data["record"].append(json.dumps(record).encode())
            data["values"].append(None if values is None else np.asarray(values).tobytes())
            data["times"].append(None if times is None else np.asarray(times).tobytes())
        return pa.table(data, schema=ENCODED)

    def _alone(self, block: pa.Table, i: int) -> tuple[Record, Result | None]:
        try:
            (found,) = self._encoded(block, [i], replace(self.settings, batch_size=1))
        except Exception as error:
            record = json.loads(block.column("record")[i].as_py())
            what = f"{type(error).__name__}: {error}"
            return record | {"status": "failed", "error": what}, None
        return found

    def _encoded(
        self, block: pa.Table, rows: list[int], settings: Settings
    ) -> list[tuple[Record, Result | None]]:
        readings: dict[int, Reading] = {}

        def sources() -> Iterator[AudioStream | PartedStream | MusicSSLError]:
            for i in rows:
                item = block.column("item")[i].as_py()
                if item is None:
                    buffer = block.column("audio")[i].as_buffer()
                    yield _Samples(np.frombuffer(buffer, np.float32))
                else:
                    readings[i], stream = self.decoding.opened(pickle.loads(item))
                    yield stream

        out: list[tuple[Record, Result | None]] = []
        for i, result in zip(rows, Engine(self.model, settings).run(sources()), strict=True):
            reading = readings.get(i)
            if reading is None:
                record = json.loads(block.column("record")[i].as_py())
                if isinstance(result, MusicSSLError):
                    record |= {"status": "failed", "error": str(result)}
            elif isinstance(result, MusicSSLError):
                record = failure(reading.item, reading.seen, result)
            else:
                record = self.decoding.describe(reading)
            out.append((record, None if isinstance(result, MusicSSLError) else result))
        return out


class DecodeEncode:
    """Both stages in one process, one core: what was decoded need not travel.

    Parameters
    ----------
    decode
        The first stage.
    model, settings
        As for `Encode`.
    """

    def __init__(self, decode: Decode, model: Any, settings: Settings) -> None:
        self.decode = decode
        self.encode = Encode(model, settings, decode.decoding)
        self._most = 4 * BATCHES * settings.batch_seconds * decode.decoding.sample_rate  # bytes

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Decode and encode.

        Yields
        ------
        pyarrow.Table
            As `ENCODED`.
        """
        rows: list[pa.Table] = []
        for row in self.decode(items):
            rows.append(row)
            if sum(one.nbytes for one in rows) >= self._most:
                yield self.encode(pa.concat_tables(rows))
                rows = []
        if rows:
            yield self.encode(pa.concat_tables(rows))


@dataclass(frozen=True)
class Pending:
    """The stage before the others, for data sets of one's own: their rows to items.

    Those that have a result are their name alone.

    Parameters
    ----------
    done
        As for `Decode`.
    """

    done: NDArray[np.uint64]

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the items of a block."""
        taken = [_item_of(row) for row in rows.to_pylist()]
        items = [pickle.dumps(one[0].key if _is_done(self.done, *one) else one) for one in taken]
        return pa.table({"item": pa.array(items, pa.large_binary())})


def _is_done(done: NDArray[np.uint64], item: Item, seen: FileStat) -> bool:
    key = np.uint64(result_digest(record_of(item, seen)))
    place = int(np.searchsorted(done, key))
    return place < len(done) and bool(done[place] == key)


def _item_of(row: dict[str, Any]) -> Taken:
    """Return a row as an item."""
    data, path = row.get("bytes"), row.get("path")
    name = str(row.get("source") or path)
    item = Item(name, Path(name), given=True)
    seen = FileStat()
    if isinstance(data, bytes):
        seen = FileStat(len(data))
        return item._replace(where=name, origin=Held(data, name, seen)), seen
    if not isinstance(path, str):
        return item._replace(error=f"the row has no path and no bytes, but {list(row)}"), seen
    try:
        if is_url(path):
            item = remote_item(name, path)
        else:
            named = name if row.get("source") else listed_name(path)
            item = item._replace(key=named, path=absolute(path))
        return item, item.seen()
    except MusicSSLError as error:
        return item._replace(where=path, error=str(error)), seen
    except OSError as error:
        return item._replace(error=error.strerror or str(error)), seen
