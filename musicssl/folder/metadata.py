"""`Metadata`: columns of the user's own, from a CSV with a row for each file."""

import csv
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError, shown
from musicssl.tables import read_text, table_reader

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"\s*[+-]?0\d|.*_")  # what numbers of catalogs have, such as 007
KEYS = ("source", "path", "file", "filename", "name")  # columns that say which file


@dataclass(eq=False)
class Metadata:
    """A CSV, by the files that its rows name.

    A row is a file's if it names the result, the file's path, as it is or relative to the CSV, or,
    where only one file is called so, its name with or without its extension.
    """

    file: Path
    key: str  # which column names files
    names: list[str]  # of the others
    rows: dict[str, dict[str, str | None]]  # by what `key` says; the last of several counts
    repeated: int  # rows that another one replaces
    whole: dict[str, str]  # absolute paths, and what `key` says

    @classmethod
    def read(cls, file: Path, *, taken: Collection[str] = ()) -> "Metadata":
        """Read a CSV, whatever separates its cells.

        Parameters
        ----------
        file
            With a header; one of its columns is called as in `KEYS`. UTF-8, or UTF-16 with a mark.
        taken
            Names that no column may have.

        Raises
        ------
        ConfigError
            If it cannot be read, has no column of files, or has a name that is taken.
        """
        reader, _ = table_reader(read_text(file))
        try:
            header, *cells = [row for row in reader if row] or [[]]
        except csv.Error as error:
            raise ConfigError(f"{file}, line {reader.line_num}: no CSV ({error}).") from error
        names = [name.strip() for name in header]
        rows = [dict(zip(names, row, strict=False)) for row in cells]
        key = next((name for name in names if name and name.casefold() in KEYS), None)
        if key is None:
            raise ConfigError(
                f"{file} has no column of files; expected one of {', '.join(KEYS)}, got "
                f"{', '.join(map(shown, names)) or 'nothing'}."
            )
        wanted = list(dict.fromkeys(name for name in names if name and name != key))
        if both := [name for name in wanted if name in taken]:
            raise ConfigError(
                f"{file}: the column {shown(both[0])} is one of musicssl's own; rename it."
            )
        named = [row for row in rows if row.get(key)]
        by_name = {row[key]: {name: row.get(name) for name in wanted} for row in named}
        whole = {os.path.abspath(file.parent / name): name for name in by_name}  # noqa: PTH100
        return cls(file, key, wanted, by_name, len(named) - len(by_name), whole)

    def kinds(self) -> dict[str, type]:
        """Return whether each column holds int, float or str: the first that all of it is."""
        return {
            name: _kind([row[name] for row in self.rows.values() if row[name]])
            for name in self.names
        }


class Match:
    """A search for the rows of files, which counts what has no other half.

    Parameters
    ----------
    metadata
        The rows.
    sources
        All results' names: what two files are called names neither.
    """

    def __init__(self, metadata: Metadata, sources: Iterable[str]) -> None:
        self.metadata = metadata
        self.kinds = metadata.kinds()
        self._bases = Counter(source.rpartition("/")[2] for source in sources)
        self._used: set[str] = set()
        self._files = 0
        self._without: list[str] = []

    def find(self, source: str, path: str) -> str | None:
        """Return what the row of a file calls it, None if it has none."""
        rows, whole = self.metadata.rows, self.metadata.whole
        for name in (source, path, whole.get(os.path.abspath(path), "")):  # noqa: PTH100
            if name in rows:
                return name
        last = source.rpartition("/")[2]
        names = (last, Path(last).stem) if self._bases[last] == 1 else ()
        return next((name for name in names if name in rows), None)

    def row(self, source: str, path: str) -> dict[str, Any]:
        """Return a file's row, each cell as what its column holds; nothing if it has none."""
        self._files += 1
        name = self.find(source, path)
        if name is None:
            self._without.append(source)
            return {}
        self._used.add(name)
        cells = self.metadata.rows[name]
        return {column: kind(cells[column]) for column, kind in self.kinds.items() if cells[column]}

    def report(self) -> None:
        """Warn of rows and files that have no other half."""
        rows = self.metadata.rows
        said = []
        if unused := [name for name in rows if name not in self._used]:
            said.append(
                f"{len(unused):,} of {len(rows):,} rows name no file, such as {shown(unused[0])}"
            )
        if self._without:
            said.append(
                f"{len(self._without):,} of {self._files:,} files have no row, such as "
                f"{shown(self._without[0])}"
            )
        if self.metadata.repeated:
            said.append(f"{self.metadata.repeated:,} rows name a file again, and the last counts")
        if said:
            log.warning("%s: %s.", self.metadata.file, "; ".join(said))


def _kind(cells: list[str | None]) -> type:
    if any(_NUMBERED.match(cell or "") for cell in cells):
        return str
    for kind in (int, float):
        try:
            values = [kind(cell or "") for cell in cells]
        except ValueError:
            continue
        fits = all(-(2**63) <= v < 2**63 if kind is int else math.isfinite(v) for v in values)
        if values and fits:
            return kind
    return str
