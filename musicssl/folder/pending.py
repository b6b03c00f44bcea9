"""`Parts`: pending results of one file: an npz each, then sorted runs, until they are merged."""

import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from musicssl.folder.keys import order
from musicssl.folder.output import Row
from musicssl.folder.paths import (
    SHARD,
    STATE,
    lexists,
    log,
    make_folder,
    not_a_link,
    put_aside,
    remove,
    remove_own,
)
from musicssl.folder.per_file import Npz, read_npz
from musicssl.folder.sorted_runs import NAME as in_runs
from musicssl.folder.sorted_runs import Runs

_NAME = re.compile(r"[0-9a-f]{32}\.npz").fullmatch


class Parts:
    """Files OUT/.musicssl/parts/xx/HASH.npz, called after a hash of the source's name.

    A name of 255 bytes leaves no room for a suffix, and `a` may be a file in one run and a folder
    in the next. Whenever there are `most` of them, they are gathered in one of `Runs` beside them:
    a million files would take long to find, and their names much memory to sort. Any thread may
    write and read.
    """

    most = 4096

    def __init__(self, out: Path, space: str, tag: str = "") -> None:
        self.out, self.space = out, space
        self.folder = out / STATE / f"parts{tag}"
        self.runs = Runs(self.folder, space, order)
        self._lock = threading.RLock()
        self._count = 0  # written since they were last gathered

    @classmethod
    def all(cls, out: Path, space: str, tag: str) -> list["Parts"]:
        """Return the parts that there are in a folder: those of the run `tag` first."""
        own = cls(out, space, tag)
        tags = (re.fullmatch(f"parts({SHARD})?", p.name) for p in (out / STATE).glob("parts*"))
        others = sorted(found[1] or "" for found in tags if found)
        both = [own, *(cls(out, space, other) for other in others if other != tag)]
        return [parts for parts in both if parts.folder.is_dir() and not parts.folder.is_symlink()]

    def path(self, key: str) -> Path:
        """Return the file for a source."""
        name = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name}.npz"

    def has(self, key: str) -> bool:
        """Tell whether there is a part for `key` that is not damaged."""
        with self._lock:
            return self._read(key) is not None or key in self.runs

    def read(self, key: str) -> Row | None:
        """Return the part for `key`; None if there is none, or only a damaged one."""
        with self._lock:
            return self._read(key) or self.runs.read(key)

    def _read(self, key: str) -> Row | None:
        path = self.path(key)
        return self._load(path) if lexists(path) else None

    def write(self, row: Row, scratch: Path) -> None:
        """Write a part, whole or not at all."""
        path, part = self.path(row.key), scratch / f"{threading.get_ident()}.npz"
        with part.open("wb") as file:
            Npz(self.out, self.space).save(row, ".npz", file)
        with self._lock:
            if not path.parent.is_dir():
                not_a_link(self.folder)
                make_folder(path.parent)
            if lexists(path) and self._load(path) is None:
                put_aside(path)
            part.replace(path)
            self._count += 1
            if self._count >= self.most:
                self.gather(scratch)

    def drop(self, key: str) -> None:
        """Remove the part for `key`, if there is one."""
        with self._lock:
            remove(self.path(key))
            self.runs.drop(key)

    def gather(self, scratch: Path) -> None:
        """Make the single files one sorted run; what is damaged is put aside."""
        with self._lock:
            self._count = 0
            paths = [path for path in self.folder.glob("??/*.npz") if _NAME(path.name)]
            for first in range(0, len(paths), self.most):
                rows, some = [], paths[first : first + self.most]
                for path in some:
                    if (row := self._load(path)) is None:
                        put_aside(path)
                    else:
                        rows.append(row)
                if rows:
                    self.runs.add(sorted(rows, key=lambda row: order(row.key)), scratch / "0.rows")
                for path in some:
                    remove(path)

    def rows(self, scratch: Path) -> Iterator[Row]:
        """Yield all, sorted by source; what is damaged is put aside."""
        self.gather(scratch)
        return self.runs.rows()

    def clear(self) -> None:
        """Remove all."""
        remove_own(self.folder, lambda name: _NAME(name) or in_runs(name), deep=True)

    def _load(self, path: Path) -> Row | None:
        try:
            row, space = read_npz(path)
        except Exception as error:  # whatever damage does to zipfile and numpy
            refused = isinstance(error, OSError) and error.errno is not None
            if refused or isinstance(error, (MemoryError, ImportError)):
                raise
            log.debug("%s cannot be read back", path, exc_info=error)
            return None
        return row if space == self.space else None
