"""`read_segments`: lists of parts of files, as CSV or as CUE sheets."""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from musicssl import arguments
from musicssl.audio.remote import is_url
from musicssl.errors import AudioError, ConfigError, shown
from musicssl.segments.cue import cue_tracks
from musicssl.segments.segment import Segment, checked
from musicssl.tables import beyond, number, read_text, table_reader, with_points

COLUMNS = {  # of a table, by the names that people give them
    "path": ("path", "file", "filename", "audio", "source"),
    "start": ("start", "begin", "onset", "offset", "start_time"),
    "end": ("end", "stop", "end_time"),
    "id": ("id", "name"),  # a label is no id: many parts have the same
    "duration": ("duration", "length"),  # in place of an end
}
UNNAMED = ("path", "start", "end", "id")  # columns of a table without a header


class BadRow(NamedTuple):
    """A row of a list that is no segment."""

    where: str  # the list and the line
    error: str


def read_segments(file: str | Path) -> list[Segment]:
    """Read a list of parts of files: to embed, or to pass on to `musicssl.embed_folder`.

    Parameters
    ----------
    file
        A CUE sheet, whose tracks begin at their INDEX 01 and end where the next one begins; or a
        CSV with columns path, start, end and perhaps id, in this order or under these names:
        seconds, an empty end is the file's; a column duration may stand in place of it. Columns
        of any other name become the segments' `metadata`. Paths are relative to the list's
        folder. UTF-8, UTF-16 with a mark, or, of CUE sheets, the Windows code page 1252.

    Returns
    -------
    list of Segment
        In the order of the list. A track's `id` is the sheet's path as seen from the current folder
        and its number, such as "album.cue#01".

    Raises
    ------
    AudioError
        If a row or a track is no part of a file; the message names its line.
    ConfigError
        If the list cannot be read.

    Examples
    --------
    >>> import musicssl
    >>> tracks = musicssl.read_segments("album.cue")  # doctest: +SKIP
    >>> vectors = musicssl.get_embedding(tracks)  # doctest: +SKIP
    """
    found = []
    for row in parse_segments(arguments.path(file, "file")):
        if isinstance(row, BadRow):
            raise AudioError(f"{row.where}: {row.error}")
        found.append(row)
    return found


def parse_segments(file: Path) -> list[Segment | BadRow]:
    """Return a list's segments, and in its place each row that is none.

    Raises
    ------
    ConfigError
        If the list cannot be read, or holds nothing.
    """
    is_cue = file.suffix.lower() == ".cue"
    text = read_text(file, otherwise="cp1252" if is_cue else None)
    if is_cue:
        rows: Iterator[Segment | BadRow] = (
            BadRow(f"{file}, line {line}", track) if isinstance(track, str) else track
            for line, track in cue_tracks(text, file)
        )
    else:
        rows = _table(text, file)
    found = list(rows)
    if not is_cue and table_reader(text)[1] != ",":
        found = _with_points(found)
    if not found:
        raise ConfigError(f"{file} lists nothing: expected a CUE sheet, or path,start,end rows.")
    return found


def _with_points(rows: Sequence[Segment | BadRow]) -> list[Segment | BadRow]:
    """Return rows whose own columns have decimal points, where these are numbers with commas."""
    cells = iter(with_points(row.metadata for row in rows if isinstance(row, Segment)))
    return [replace(row, metadata=next(cells)) if isinstance(row, Segment) else row for row in rows]


def _table(text: str, file: Path) -> Iterator[Segment | BadRow]:
    """Yield a CSV's segments."""
    reader, delimiter = table_reader(text)
    places: dict[str, int] = {}
    others: dict[str, int] = {}  # columns of the user's own
    while True:
        where = f"{file}, line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield BadRow(where, f"no CSV ({error}).")
            continue
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if not places:
            if places := _header(row):
                n_columns, others = len(row), _others(row, places, where)
                continue
            places, n_columns = {name: i for i, name in enumerate(UNNAMED)}, len(UNNAMED)
        if wrong := beyond(row, n_columns):
            yield BadRow(where, wrong)
            continue
        segment = _segment(row, places, file, where, comma=delimiter == ",")
        if isinstance(segment, Segment):
            cells = {name: row[i].strip() for name, i in others.items() if i < len(row)}
            segment = replace(segment, metadata=cells)
        yield segment


def _header(row: Sequence[str]) -> dict[str, int]:
    """Return which column is where if a row names them, nothing if it is a segment already."""
    names = [cell.strip().casefold() for cell in row]
    found = {
        column: names.index(known[0])
        for column, others in COLUMNS.items()
        if (known := [name for name in others if name in names])
    }
    return found if {"path", "start"} <= found.keys() else {}


def _others(row: Sequence[str], places: dict[str, int], where: str) -> dict[str, int]:
    """Return which columns are where that are none of a list of segments.

    Raises
    ------
    ConfigError
        If two have the same name.
    """
    others: dict[str, int] = {}
    for i, name in enumerate(cell.strip() for cell in row):
        if name in others:
            raise ConfigError(f"{where}: two columns are called {shown(name)}.")
        if name and i not in places.values():
            others[name] = i
    return others


def _segment(
    row: Sequence[str], places: dict[str, int], file: Path, where: str, *, comma: bool
) -> Segment | BadRow:
    cells = {name: row[i].strip() if i < len(row) else "" for name, i in places.items()}
    if not cells["path"]:
        return BadRow(where, "the path is empty.")
    numbers: dict[str, float] = {}
    for name in ("start", "end", "duration"):
        if text := cells.get(name, ""):
            numbers[name] = number(text, comma=comma)
            if not math.isfinite(numbers[name]):
                return BadRow(where, f"{name} is {shown(text)}; expected seconds, such as 61.5.")
    if "duration" in numbers:
        numbers.setdefault("end", numbers.get("start", 0.0) + numbers["duration"])
    segment = Segment(
        located(cells["path"], file),
        numbers.get("start", 0.0),
        numbers.get("end"),
        cells.get("id") or None,
    )
    try:
        checked(segment)
    except AudioError as error:
        return BadRow(where, str(error))
    return segment


def located(name: str, file: Path) -> str | Path:
    """Return where a list's file is: relative to the list."""
    return name if is_url(name) else Path(os.path.abspath(file.parent / name))  # noqa: PTH100
