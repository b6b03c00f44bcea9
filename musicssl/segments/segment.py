"""`Segment`: a part of a file, as audio to embed."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from musicssl.errors import AudioError, shown


@dataclass(frozen=True)
class Segment:
    """A part of a file; an item of audio wherever a path is one.

    Parameters
    ----------
    path
        The file.
    start, end
        Seconds from the start of the file; None for its end.
    id
        Name of the result in a folder; None for one that is made of the path and the times.
    title
        Name for people, of a track.
    metadata
        Columns of your own, by their names; in a folder of results they stand beside the embedding.

    Examples
    --------
    >>> import musicssl
    >>> chorus = musicssl.Segment("song.flac", 61.5, 84)
    >>> musicssl.get_embedding([chorus, "song.flac"]).shape  # doctest: +SKIP
    (2, 512)
    """

    path: str | os.PathLike[str]
    start: float = 0.0
    end: float | None = None
    id: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        """Return the path with the times as in a media fragment: ``song.flac#t=61.5,84``."""
        path: Any = self.path
        named = os.fspath(path) if isinstance(path, (str, os.PathLike)) else shown(path)
        try:
            return f"{named}{fragment(self.start, self.end)}"
        except Exception:  # whatever stands in place of seconds
            return str(named)


def fragment(start: float, end: float | None) -> str:
    """Return times as W3C's "Media Fragments URI 1.0" writes them.

    Examples
    --------
    >>> fragment(0, 1 / 3), fragment(61.5, None)
    ('#t=0,0.333333', '#t=61.5')
    """
    return f"#t={_plain(start)}" + ("" if end is None else f",{_plain(end)}")


def _plain(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def checked(segment: Segment) -> tuple[float, float | None]:
    """Return where a segment starts and ends, in seconds.

    Raises
    ------
    AudioError
        If its path is none, its times are no such numbers, it ends before it starts, its id is no
        text, or its metadata have no names.
    """
    if not isinstance(segment.path, (str, os.PathLike)):
        raise AudioError(f"path must be a path, got {shown(segment.path, kind=True)}.")
    if not isinstance(segment.id, (str, type(None))):
        raise AudioError(f"id must be a string, got {shown(segment.id, kind=True)}.")
    metadata: Any = segment.metadata
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        raise AudioError(f"metadata must be values by name, got {shown(metadata, kind=True)}.")
    start = _seconds(segment.start, "start")
    end = None if segment.end is None else _seconds(segment.end, "end")
    if end is not None and end <= start:
        raise AudioError(f"it ends at {_plain(end)} s, but starts at {_plain(start)} s.")
    return start, end


def _seconds(value: Any, name: str) -> float:
    try:
        seconds = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except Exception:  # whatever a foreign type raises
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise AudioError(f"{name} must be seconds, at least 0, got {shown(value, kind=True)}.")
    return seconds
