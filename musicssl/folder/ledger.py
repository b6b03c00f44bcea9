"""Index of a folder's manifests, small enough to keep for a million files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from musicssl.folder.digests import DigestMap
from musicssl.folder.records import READ, Record, digest, read_at, read_places

_OTHER = 0, 0  # a result without a record here


class FileStat(NamedTuple):
    """Facts that a file system tells of a file without reading it.

    Size and time of change are not enough: stems of one song out of one archive have the same.
    Files that have exchanged their names differ in inode, or in the time of the last renaming.
    """

    size: int = 0
    mtime_ns: int = 0
    inode: int | None = None
    ctime_ns: int | None = None
    etag: str | None = None  # of an object in a store

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStat":
        """Return what a `stat` tells."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @property
    def facts(self) -> Record:
        """As records have them: an etag only where there is one."""
        return {k: v for k, v in self._asdict().items() if k != "etag" or v is not None}


class Ledger:
    """Each file that has a result in a folder, by the digest of its name.

    It holds two numbers a file: a digest of how it was, and where its record stands.

    Parameters
    ----------
    paths
        The manifests; of records of one file the last counts.
    space
        Results of other spaces are known to be there, but have no record here.
    """

    def __init__(self, paths: Sequence[Path] = (), space: str = "") -> None:
        self.paths = paths
        self._known = DigestMap(2)  # how it was, and where its record stands
        self._archives: dict[int, int] = {}  # where the records of tar files stand
        for i, path in enumerate(paths):
            for start, record in read_places(path):
                key = digest(record["source"])
                if record["status"] == "ok":
                    place = start * len(paths) + i
                    known = _state(record), place + 1
                    self._known.set(key, *(known if record["space"] == space else _OTHER))
                elif record.get("left"):  # failed, and the earlier result could not be removed
                    self._known.set(key, *_OTHER)
                elif record["status"] == READ:
                    self._archives[key] = start * len(paths) + i
                else:
                    self._known.remove(key)

    def __contains__(self, key: str) -> bool:
        return digest(key) in self._known

    def __len__(self) -> int:
        return len(self._known)

    def is_as_it_was(
        self, key: str, path: str, seen: FileStat, part: Mapping[str, float | None]
    ) -> bool:
        """Tell whether nothing about a file, or the part of it, differs from its record."""
        state, place = self._known.get(digest(key)) or _OTHER
        return bool(place) and state == _state({"path": path, **seen._asdict(), **part})

    def record(self, key: str) -> Record | None:
        """Return the record of a file that has a result of this space."""
        _, place = self._known.get(digest(key)) or _OTHER
        return self.read(place - 1) if place else None

    def archive(self, key: str) -> Record | None:
        """Return what is known of a tar that was read to its end."""
        place = self._archives.get(digest(key))
        return None if place is None else self.read(place)

    def counts(self, key: str, place: int) -> bool:
        """Tell whether a source's last record is the one that stands in a place."""
        return (self._known.get(digest(key)) or _OTHER)[1] == place + 1

    def read(self, place: int) -> Record | None:
        """Return the record that stands in a place."""
        start, i = divmod(place, len(self.paths))
        return read_at(self.paths[i], start)


def _state(record: Record) -> int:
    """Return 64 bits that change when anything about a file does."""
    return digest(repr([record.get(name) for name in ("path", *FileStat._fields, "start", "end")]))
