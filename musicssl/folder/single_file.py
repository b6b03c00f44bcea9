"""Base class of the writers of one file for all results: parts that are merged at the end."""

import heapq
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from musicssl.errors import DependencyError, OutputError
from musicssl.folder.digests import DigestMap
from musicssl.folder.keys import order, unicode_key
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import (
    SHARD,
    damage,
    lexists,
    not_a_link,
    proper,
    put_aside,
    reason,
    remove,
    writing,
)
from musicssl.folder.pending import Parts
from musicssl.folder.records import digest


class Store(Output):
    """One file for all results, sorted by source, made of npz parts when the run is over.

    Neither parquet nor HDF5 can be added to safely: the one cannot grow, the other is damaged
    by a kill. So each result first is a file of `Parts`, and at the end those and what an earlier
    run has left are merged into a new file, which takes the old one's place in one step.
    """

    suffix: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]

    def __init__(self, out: Path, space: str, tag: str = "", *, level: str | None = None) -> None:
        super().__init__(out, space, tag, level=level)
        try:
            self.module: Any = import_module(self.package)
        except ImportError as error:
            raise DependencyError(
                f"format {self.suffix[1:]!r} needs {self.package}: "
                f"pip install 'musicssl[{self.extra}]'."
            ) from error
        self.parts = Parts(out, space, tag)
        self.path = out / f"embeddings{tag}{self.suffix}"
        self.dropped: set[str] = set()
        self.known = DigestMap()
        self.earlier: list[Parts] = []  # of broken-off runs

    @abstractmethod
    def read(self, path: Path) -> Iterator[Row]:
        """Yield a file's rows in their order."""

    @abstractmethod
    def read_keys(self, path: Path) -> Iterator[str]:
        """Yield a file's keys."""

    @abstractmethod
    def read_space(self, path: Path) -> str | None:
        """Return the space that a file says it is of, None if it says none."""

    @abstractmethod
    def read_one(self, path: Path, key: str) -> Row | None:
        """Return one row of a file, None if it has no such key."""

    @abstractmethod
    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        """Write a file."""

    def check(self) -> Iterator[tuple[Path, str]]:
        for path in self._found():
            try:
                space = self.read_space(path)
                if space == self.space:
                    next(self.read_keys(path), None)
                elif path == self.path:
                    what = f"other embeddings ({space})" if space else "what musicssl did not write"
                    yield path, f"holds {what}"
            except Exception as error:  # whatever damage does to pyarrow and h5py
                yield path, f"is damaged ({reason(error)})"

    def scan(self) -> None:
        self.earlier = self._all_parts()
        self.known = DigestMap()
        for path in self._files():
            with damage(path):
                for key in self.read_keys(path):
                    self.known.set(digest(key))

    def has(self, key: str) -> bool:
        key = unicode_key(key)
        return digest(key) in self.known or any(parts.has(key) for parts in self.earlier)

    def read_row(self, key: str) -> Row | None:
        name = unicode_key(key)
        for parts in self.earlier:
            if parts.has(name):
                return parts.read(name)
        for path in self._files() if digest(name) in self.known else []:
            with suppress(Exception):  # damaged, so it is embedded again
                if row := self.read_one(path, name):
                    return row
        return None

    def rows(self, keys: Iterable[str]) -> Iterator[tuple[str, Row | None]]:
        self.scan()
        wanted = {unicode_key(key): key for key in keys}
        for name in [name for name in wanted if self.earlier]:  # newer than what is merged
            if (row := next((r for p in self.earlier if (r := p.read(name))), None)) is not None:
                yield wanted.pop(name), row
        for path in self._files():
            for row in self._rows(path):
                if row.key in wanted:
                    yield wanted.pop(row.key), row
        yield from ((key, None) for key in wanted.values())

    def write(self, row: Row, announce: Callable[[], None]) -> None:
        with writing(self.parts.folder):
            self.parts.write(row._replace(key=unicode_key(row.key)), self.scratch)
        self.dropped.discard(unicode_key(row.key))
        announce()  # last: the file may hold an older result under this key

    def drop(self, key: str) -> None:
        key = unicode_key(key)
        for parts in (self.parts, *self.earlier):
            parts.drop(key)
        if digest(key) in self.known:
            self.dropped.add(key)

    def target(self, key: str) -> Path:
        proper(self.out, key)  # HDF5 reads "." and "/" in names as paths, too
        return self.path

    def clear(self, keys: Iterable[str]) -> None:
        for parts in Parts.all(self.out, self.space, self.tag):
            parts.clear()
        for path, _ in list(self.check()):
            put_aside(path)
        for path in self._files():
            remove(path)

    def close(self, finished: bool) -> None:
        if finished:
            with writing(self.path):
                self._merge()
        super().close(finished)

    def _all_parts(self) -> list[Parts]:
        """Return what waits to be merged, this run's own first."""
        found = Parts.all(self.out, self.space, self.tag)
        return [self.parts if p.folder == self.parts.folder else p for p in found]

    def _found(self) -> list[Path]:
        """Return what has the name of a store of this folder, this run's own first."""
        ours = re.compile(rf"embeddings({SHARD})?{re.escape(self.suffix)}")
        found = sorted(p for p in self.out.glob("embeddings*") if ours.fullmatch(p.name))
        paths = [not_a_link(self.path), *(p for p in found if p != self.path)]
        return [path for path in paths if lexists(path) and not path.is_symlink()]

    def _files(self) -> list[Path]:
        """Return the stores of this folder and space, this run's own first."""
        files = []
        for path in self._found():
            with damage(path):
                if self.read_space(path) == self.space:
                    files.append(path)
        return files

    def _merge(self) -> None:
        """Merge parts and what is there; without shards at work, theirs too. Newest first."""
        parts, files = self._all_parts(), self._files()
        if self.tag:
            parts = [p for p in parts if p.folder == self.parts.folder]
            files = [path for path in files if path == self.path]
        if not parts and not self.dropped and not self.anew and files in ([], [self.path]):
            return
        files = [path for path in files if not self.mend or self._whole(path)]
        streams = [p.rows(self.scratch) for p in parts] + [self._rows(path) for path in files]
        new = self.scratch / self.path.name
        rows = self._newest(streams)
        if first := next(rows, None):
            self._save(first, rows, new)
            new.replace(self.path)
            files = [path for path in files if path != self.path]
        for path in files:
            remove(path)
        for p in parts:
            p.clear()

    def _whole(self, path: Path) -> bool:
        """Tell whether all of a file can be read; one that cannot is put aside."""
        try:
            for _ in self._rows(path):
                pass
        except OutputError:
            put_aside(path)
            return False
        return True

    def _rows(self, path: Path) -> Iterator[Row]:
        with damage(path):
            yield from self.read(path)

    def _save(self, first: Row, rest: Iterator[Row], new: Path) -> None:
        try:
            self.save_all(first, rest, new)
        except OutputError:
            raise
        except Exception as error:  # h5py and pyarrow have no one kind for it
            raise OutputError(f"cannot write to {self.path}: {reason(error)}.") from error

    def _newest(self, streams: list[Iterator[Row]]) -> Iterator[Row]:
        """Merge sorted streams; of rows with one key the first stream's counts."""
        merged = heapq.merge(*streams, key=lambda row: order(row.key))  # stable
        for key, rows in groupby(merged, key=lambda row: row.key):
            if key not in self.dropped:
                yield next(rows)
