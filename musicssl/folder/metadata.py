"""`Metadata`: columns of the user's own, from a CSV with a row for each file."""

import csv
import math
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from musicssl.errors import ConfigError, shown
from musicssl.folder.cells import Kinds
from musicssl.segments.segment import fragment
from musicssl.tables import beyond, number, read_text, table_reader, with_points

KEYS = ("source", "path", "file", "filename", "name")  # columns that say which file
PART = ("start", "end", "duration", "id")  # columns that say which part, if there is a start

Cells = dict[str, str | None]
Lines = dict[tuple[str, ...], tuple[int, Cells]]  # what is which file's, with its first line


@dataclass(eq=False)
class Metadata:
    """A CSV, by the files that its rows name.

    A row is a file's if it names the result, the file's path, as it is or relative to the CSV, or,
    where only one file is called so, its name with or without its extension. With a column `start`,
    a row is a part's: by its `id`, or by the file and the times.
    """

    file: Path
    key: str  # which column names files
    names: list[str]  # of the others
    rows: dict[str, Cells] = field(default_factory=dict)  # by their labels
    labels: dict[str, str] = field(default_factory=dict)  # by what names them
    whole: dict[str, str] = field(default_factory=dict)  # absolute paths, and what `key` says

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
            If it cannot be read, has no column of files, has a name that is taken, or says two
            things of one file.
        """
        rows, comma = _numbered(file)
        line, header = next(rows, (1, []))
        names = [name.strip() for name in header]
        key = next((name for name in names if name and name.casefold() in KEYS), None)
        if key is None:
            raise ConfigError(
                f"{file} has no column of files; expected one of {', '.join(KEYS)}, got "
                f"{', '.join(map(shown, names)) or 'nothing'}."
            )
        part = PART if "start" in names else ()
        if both := [name for i, name in enumerate(names) if name and name in names[:i]]:
            raise ConfigError(f"{file}, line {line}: two columns are called {shown(both[0])}.")
        wanted = [name for name in names if name and name != key and name not in part]
        if both := [name for name in wanted if name in taken]:
            raise ConfigError(
                f"{file}: the column {shown(both[0])} is one of musicssl's own; rename it."
            )
        found = cls(file, key, wanted)
        lines: Lines = {}
        for line, row in rows:
            if wrong := beyond(row, len(names)):
                raise ConfigError(f"{file}, line {line}: {wrong}")
            found._add(line, dict(zip(names, row, strict=False)), part, lines, comma=comma)
        if not comma:
            found.rows = dict(zip(found.rows, with_points(found.rows.values()), strict=True))
        return found

    def kinds(self) -> dict[str, type]:
        """Return whether each column holds int, float or str: the first that all of it is."""
        kinds = Kinds(self.rows.values()).of()
        return {name: kinds.get(name, str) for name in self.names}

    def _add(
        self,
        line: int,
        row: dict[str, str],
        part: Sequence[str],
        lines: Lines,
        *,
        comma: bool,
    ) -> None:
        """Take note of a row.

        Raises
        ------
        ConfigError
            If its times are none, or another row says something else of the same.
        """
        name = row.get(self.key, "")
        cells: Cells = {name: row.get(name) for name in self.names}
        about = {name: row.get(name, "").strip() for name in part}
        number = about.get("id", "")
        if not name and not number:
            return
        place = name + self._times(line, about, comma=comma)
        path = os.path.abspath(self.file.parent / name)  # noqa: PTH100
        label = number or place
        which = (number,) if number else (path, place.removeprefix(name))
        before, known = lines.setdefault(which, (line, cells))
        if known != cells:
            raise ConfigError(
                f"{self.file}: lines {before} and {line} say different things of {shown(label)}; "
                "expected one row for each file. Rows of parts of a file have columns start and "
                "end, in seconds, or an id."
            )
        self.rows[label] = cells
        for text in (label, place) if name else (label,):
            self.labels.setdefault(text, label)
            self.labels.setdefault(normalize("NFC", text), label)
        if name:
            self.whole[path] = name
            self.whole.setdefault(normalize("NFC", path), name)

    def _times(self, line: int, about: dict[str, str], *, comma: bool) -> str:
        """Return a row's times as names of parts end with them, "" if it is of all of a file."""
        times: dict[str, float] = {}
        for name in ("start", "end", "duration"):
            if cell := about.get(name, ""):
                times[name] = number(cell, comma=comma)
                if not 0 <= times[name] < math.inf:
                    raise ConfigError(
                        f"{self.file}, line {line}: {name} is {shown(cell)}; "
                        "expected seconds, such as 61.5."
                    )
        if not times:
            return ""
        start = times.get("start", 0.0)
        if "duration" in times:
            times.setdefault("end", start + times["duration"])
        return fragment(start, times.get("end"))


def _numbered(file: Path) -> tuple[Iterator[tuple[int, list[str]]], bool]:
    """Return a CSV's rows with content, each with its first line, and whether commas part cells.

    Raises
    ------
    ConfigError
        If it cannot be read; or, on the way, if quotes do not end.
    """
    reader, delimiter = table_reader(read_text(file))

    def rows() -> Iterator[tuple[int, list[str]]]:
        line = 1
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise ConfigError(f"{file}, line {reader.line_num}: no CSV ({error}).") from error

    return rows(), delimiter == ","
