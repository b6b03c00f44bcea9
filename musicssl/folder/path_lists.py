"""`PathLines`: a list of paths as the bytes that it came as, for lists of millions."""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from musicssl.errors import AudioError
from musicssl.folder.roots import Roots
from musicssl.source_names import absolute, current_folder, listed_name


@dataclass(frozen=True)
class PathLines:
    """The lines of a list of paths; decoded while it is iterated, which can be done again.

    Parameters
    ----------
    data
        The list: paths as the bytes that they are, or text in UTF-16, as PowerShell's ``>`` writes.
    null
        A NUL ends each path, not the end of a line.

    Raises
    ------
    UnicodeDecodeError
        If it is in neither.
    """

    data: bytes
    null: bool = False

    def __post_init__(self) -> None:
        data = self.data.removeprefix(codecs.BOM_UTF8)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
            data = data.decode("utf-16").encode(encoding, errors)
        object.__setattr__(self, "data", data)

    def __iter__(self) -> Iterator[str]:
        return (path for _, path in self.placed())

    def placed(self) -> Iterator[tuple[int, str]]:
        """Yield each path with the byte that its line begins at."""
        start = 0
        while start < len(self.data):
            line = self._line(start)
            if path := line if self.null else line.removesuffix(b"\r"):
                yield start, os.fsdecode(path)
            start += len(line) + 1

    def at(self, start: int) -> str:
        """Return the path whose line begins at a byte."""
        line = self._line(start)
        return os.fsdecode(line if self.null else line.removesuffix(b"\r"))

    def _line(self, start: int) -> bytes:
        stop = self.data.find(b"\0" if self.null else b"\n", start)
        return self.data[start : len(self.data) if stop < 0 else stop]


def on_disk(path: str | Path, here: Path | None = None) -> Path:
    """Return a path in the current folder as an absolute one.

    Raises
    ------
    AudioError
        If it is a URL, of which `Path` leaves one slash.
    """
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)) and not os.path.lexists(path):
        raise AudioError(
            f"{path} is a URL in a Path, which has lost a slash; give it as a str, such as "
            "'s3://bucket/music'."
        )
    return absolute(path if here is None else here / path)


class ListedRoots(Roots):
    """The names and absolute paths of a list's paths; made while it is iterated."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        super().__init__()
        self._given = paths if isinstance(paths, PathLines | list | tuple) else list(paths)
        self._here = current_folder()

    def placed(self) -> Iterator[tuple[int, tuple[str, Path]]]:
        given = self._given
        placed = given.placed() if isinstance(given, PathLines) else enumerate(given)
        return ((place, self._root(path)) for place, path in placed)

    def at(self, place: int) -> tuple[str, Path]:
        given = self._given
        return self._root(given.at(place) if isinstance(given, PathLines) else given[place])

    def _root(self, given: str | Path) -> tuple[str, Path]:
        path = on_disk(given, self._here)
        return listed_name(path, self._here), path
