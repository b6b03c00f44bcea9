"""CUE sheets: the tracks of one or several files.

As in the "CDRWIN User's Guide", 1998, appendix A, and read as leniently as players do: what is not
needed is passed over, FILE holds up to the next one, and letters' case makes no difference.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from musicssl.audio.formats import AUDIO_EXTENSIONS
from musicssl.errors import shown
from musicssl.segments.segment import Segment
from musicssl.source_names import listed_name

FRAMES = 75  # a second
_LINE = re.compile(r"\s*(\w+)\s*(.*?)\s*$", re.DOTALL)
_TIME = re.compile(r"(\d{1,5}):(\d{1,2}):(\d{1,2})")


@dataclass
class _Track:
    line: int
    number: str
    kind: str
    file: Path | None = None
    title: str | None = None
    start: float | None = None
    error: str | None = None


def cue_tracks(text: str, sheet: Path) -> Iterator[tuple[int, Segment | str]]:
    """Yield each track's line, and the segment that it is or what is wrong with it.

    A track begins at its INDEX 01 and ends where the next one of the same file begins, so that
    nothing of a file is left out but what lies before the first. Data tracks are passed over.

    Yields
    ------
    tuple of int and Segment or str
        In the sheet's order.
    """
    tracks = [track for track in _tracks(text, sheet) if track.kind in ("AUDIO", "")]
    for i, track in enumerate(tracks):
        following = tracks[i + 1] if i + 1 < len(tracks) else None
        end = following.start if following and following.file == track.file else None
        if track.error is None and track.start is None:
            track = replace(track, error=f"track {track.number} has no INDEX 01.")
        elif track.error is None and track.file is None:
            track = replace(track, error=f"track {track.number} stands before any FILE.")
        if track.error is not None or track.file is None or track.start is None:
            yield track.line, track.error or ""
        elif end is not None and end <= track.start:
            yield track.line, f"track {track.number} does not end after it begins."
        else:
            name = f"{listed_name(sheet)}#{track.number}"
            yield track.line, Segment(track.file, track.start, end, name, track.title)


def _tracks(text: str, sheet: Path) -> Iterator[_Track]:
    """Yield the tracks, each with the file in which its INDEX 01 stands."""
    file: Path | None = None
    track: _Track | None = None
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        found = _LINE.match(line)
        word, rest = (found[1].upper(), found[2]) if found else ("", "")
        if word == "FILE":
            file = _found(_unquoted(rest, last_is_kind=True), sheet)
        elif word == "TRACK":
            if track is not None:
                yield track
            first, kind = (*rest.split(None, 1), "", "")[:2]
            name = first[:9] if (index := _whole(first)) is None else f"{index:02}"
            track = _Track(number, name, kind.upper())
        elif track is not None and word == "TITLE":
            track.title = _unquoted(rest) or None
        elif track is not None and word == "INDEX":
            first, time = (*rest.split(None, 1), "", "")[:2]
            if _whole(first) == 1:
                track.file, track.line = file, number
                track.start, track.error = _seconds(time)
    if track is not None:
        yield track


def _whole(text: str) -> int | None:
    """Return a whole number, None for other text and for what no disc has so many of."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _seconds(time: str) -> tuple[float | None, str | None]:
    """Return the seconds of mm:ss:ff, or what is wrong with it."""
    found = _TIME.fullmatch(time)
    if found is None:
        wanted = "minutes:seconds:frames, such as 03:15:42"
        return None, f"INDEX is at {shown(time)}; expected {wanted}."
    minutes, seconds, frames = map(int, found.groups())
    if seconds > 59 or frames >= FRAMES:
        return None, f"INDEX is at {time!r}; there are 60 seconds and 75 frames."
    return ((minutes * 60 + seconds) * FRAMES + frames) / FRAMES, None


def _unquoted(rest: str, *, last_is_kind: bool = False) -> str:
    """Return a name, in quotes or not; after that of a FILE, its kind follows."""
    if rest.startswith('"'):
        return rest[1:].partition('"')[0]
    return rest.rsplit(None, 1)[0] if last_is_kind and rest else rest


def _found(name: str, sheet: Path) -> Path:
    """Return where a sheet's file is: relative to the sheet.

    Sheets often name the WAV that was ripped, where it was, maybe on Windows, and that has been
    moved beside the sheet or made a FLAC or the like since: the one audio file that has its name
    but for the extension is meant.
    """
    slashes = name.replace("\\", "/")
    for one in (name, slashes, slashes.rpartition("/")[2]):
        path = _audio(Path(os.path.abspath(sheet.parent / one)))  # noqa: PTH100
        if path is not None:
            return path
    return Path(os.path.abspath(sheet.parent / name))  # noqa: PTH100


def _audio(path: Path) -> Path | None:
    """Return a file, or the only one of its name with another extension, if there is one."""
    if os.path.lexists(path):
        return path
    try:
        others = [
            other
            for other in path.parent.iterdir()
            if other.stem == path.stem and other.suffix.lower() in AUDIO_EXTENSIONS
        ]
    except (OSError, ValueError):
        return None
    return others[0] if len(others) == 1 else None
