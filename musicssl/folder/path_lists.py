"""`PathLines`: a list of paths as the bytes that it came as, for lists of millions."""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from musicssl.errors import AudioError
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
        end, start = b"\0" if self.null else b"\n", 0
        while start < len(self.data):
            stop = self.data.find(end, start)
            stop = len(self.data) if stop < 0 else stop
            line = self.data[start:stop]
            if line := line if self.null else line.removesuffix(b"\r"):
                yield os.fsdecode(line)
            start = stop + 1


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


class ListedRoots:
    """The names and absolute paths of a list's paths; made while it is iterated."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = list(paths) if isinstance(paths, Iterator) else paths
        self._here = current_folder()

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        for given in self._paths:
            path = on_disk(given, self._here)
            yield listed_name(path, self._here), path

    @cached_property
    def kept(self) -> list[tuple[str, Path]]:
        """All of them, for looking up one after the other: in memory from then on."""
        return list(self)
