"""Sorted runs: results that wait to be merged into one file, thousands in each."""

import heapq
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from musicssl import __version__
from musicssl.atomic import atomic_write
from musicssl.folder.digests import DigestMap
from musicssl.folder.output import Row
from musicssl.folder.paths import log, remove
from musicssl.folder.records import digest

NAME = re.compile(r"\d{8}\.rows").fullmatch
MOST = 64  # runs beside each other; more are merged into one
_HERE, _GONE = b"+", b"-"  # what the line before a row begins with
_DAMAGE = (ValueError, LookupError, TypeError, RecursionError, OverflowError, MemoryError)
_PLACE = 40  # bits of a place in a run, below those of the run's number


class _Stored(NamedTuple):
    """A row in a run, and where the line before it begins."""

    row: Row
    place: int


class Runs:
    """Files FOLDER/NNNNNNNN.rows, each sorted by source; of rows of one source the newest counts.

    A run is a line of JSON that says whose it is, and then for each row a line and the values.
    A run appears whole or not at all. A row that is damaged is passed over.

    Parameters
    ----------
    folder
        Where they are; it may hold other things.
    space
        Rows of other spaces are no rows.
    order
        Key to sort sources by.
    """

    def __init__(self, folder: Path, space: str, order: Callable[[str], tuple[bytes, ...]]) -> None:
        self.folder, self.space, self.order = folder, space, order
        self._places: DigestMap | None = None  # by source; made when it is first needed

    def paths(self) -> list[Path]:
        """Return the files, the newest first."""
        return sorted((p for p in self.folder.glob("*.rows") if NAME(p.name)), reverse=True)

    def add(self, rows: Iterable[Row], part: Path) -> None:
        """Write a run.

        Parameters
        ----------
        rows
            Sorted, one a source.
        part
            Where it grows until it is whole.
        """
        paths = self.paths()
        number = int(paths[0].stem) + 1 if paths else 1
        self._write(rows, number, part)
        if len(paths) >= MOST:
            self._write(self.rows(), number + 1, part)  # newest wherever a kill leaves off
            for path in self.paths()[1:]:
                remove(path)

    def rows(self) -> Iterator[Row]:
        """Yield what counts, sorted."""
        streams = [(stored.row for stored in self._read(path)) for path in self.paths()]
        merged = heapq.merge(*streams, key=lambda row: self.order(row.key))  # stable
        for _, rows in groupby(merged, key=lambda row: row.key):
            yield next(rows)

    def __contains__(self, key: str) -> bool:
        return digest(key) in self._index()

    def read(self, key: str) -> Row | None:
        """Return the row of a source; None if there is none or it is damaged."""
        found = self._index().get(digest(key))
        if found is None:
            return None
        number, place = divmod(found[0], 1 << _PLACE)
        with self._path(number).open("rb") as file:
            file.seek(place)
            stored = _load(file, place)
        return stored.row if stored is not None and stored.row.key == key else None

    def drop(self, key: str) -> None:
        """Take the rows of a source away."""
        while (found := self._index().get(digest(key))) is not None:
            number, place = divmod(found[0], 1 << _PLACE)
            with self._path(number).open("r+b") as file:
                file.seek(place)
                file.write(_GONE)
            self._index().remove(digest(key))
            if len(self.paths()) > 1:
                self._places = None  # there may be an older one

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.rows"

    def _index(self) -> DigestMap:
        if self._places is None:
            self._places = DigestMap(1)
            for path in reversed(self.paths()):
                number = int(path.stem) << _PLACE
                for stored in self._read(path):
                    self._places.set(digest(stored.row.key), number | stored.place)
        return self._places

    def _write(self, rows: Iterable[Row], number: int, part: Path) -> None:
        with atomic_write(self._path(number), part=part) as file:
            about = {"space": self.space, "musicssl": __version__}
            file.write(json.dumps(about).encode() + b"\n")
            for row in rows:
                place = file.tell()
                _save(file, row)
                if self._places is not None:
                    self._places.set(digest(row.key), number << _PLACE | place)

    def _read(self, path: Path) -> Iterator[_Stored]:
        with path.open("rb") as file:
            try:
                if json.loads(file.readline())["space"] != self.space:
                    return
                while file.peek(1):
                    stored = _load(file, file.tell())
                    if stored is not None:
                        yield stored
            except _DAMAGE as error:
                log.warning("%s is damaged; what is lost of it is embedded again.", path)
                log.debug("damage", exc_info=error)


def _save(file: BinaryIO, row: Row) -> None:
    values = np.ascontiguousarray(row.values, "<f4")
    data = values.tobytes()
    if row.times is not None:
        data += np.ascontiguousarray(row.times, "<f8").tobytes()
    about = {"source": row.key, "shape": values.shape, "times": row.times is not None}
    line = json.dumps(about | {"crc": _checksum(about, data)})
    file.write(_HERE + line.encode() + b"\n" + data)


def _checksum(about: dict[str, Any], data: bytes) -> int:
    said = [about["source"], *about["shape"], about["times"]]
    return zlib.crc32(data, zlib.crc32(json.dumps(said).encode()))


def _load(file: BinaryIO, place: int) -> _Stored | None:
    """Read the next row, None if it was taken away or is damaged.

    Raises
    ------
    ValueError
        If there is no telling where the one after it begins.
    """
    line = file.readline()
    about = json.loads(line[1:])
    shape = tuple(about["shape"])
    size = 4 * int(np.prod(shape, dtype=np.int64))
    data = file.read(size + (8 * shape[0] if about["times"] else 0))
    if line[:1] == _GONE or _checksum(about, data) != about["crc"]:
        return None
    values = np.frombuffer(data[:size], "<f4").reshape(shape)
    times = np.frombuffer(data[size:], "<f8") if about["times"] else None
    return _Stored(Row(about["source"], values, times), place)
