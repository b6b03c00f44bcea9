"""Names of results: made of their sources' paths, so that no two are the same."""

import os
import re
from itertools import pairwise
from pathlib import Path

from musicssl.errors import AudioError

_URL = re.compile(r"[a-z][a-z0-9+.-]+(::[a-z][a-z0-9+.-]+)*://", re.IGNORECASE)  # no drive: "C:"


def is_url(audio: object) -> bool:
    """Tell whether a string is a URL, such as ``s3://bucket/song.flac``.

    Examples
    --------
    >>> is_url("https://example.org/song.mp3"), is_url("C:/song.mp3"), is_url("song://")
    (True, False, True)
    """
    return isinstance(audio, str) and _URL.match(audio) is not None


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path; unlike `Path.resolve`, it keeps the names that links were given.

    Raises
    ------
    AudioError
        If the current folder, which it is relative to, was removed.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100
    except OSError as error:
        raise AudioError(
            f"{path}: the current folder cannot be found ({error.strerror}); give whole paths."
        ) from error


def listed_name(path: str | os.PathLike[str], here: Path | None = None) -> str:
    """Return how the result of a path in a list is called.

    As seen from `here`, the current folder, or from the root for what lies outside it.
    """
    if here is None:
        path, here = absolute(path), current_folder()
    whole = Path(path)
    if here is not None and whole.is_relative_to(here):
        return "/".join(whole.relative_to(here).parts)
    return "/".join(_parts(whole))


def root_names(paths: list[Path]) -> list[str]:
    """Return one name a path, none equal to another or inside it."""
    parts = [_parts(path) for path in paths]
    taken = [1] * len(paths)
    while True:
        names = [part[-n:] for part, n in zip(parts, taken, strict=True)]
        order = sorted(range(len(names)), key=names.__getitem__)
        clash = {
            i
            for one, two in pairwise(order)
            if names[one] == names[two][: len(names[one])]
            for i in (one, two)
            if taken[i] < len(parts[i])
        }
        if not clash:
            return ["/".join(name) for name in names]
        for i in clash:
            taken[i] += 1


def current_folder() -> Path | None:
    """Return the current folder, None if it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _parts(path: Path) -> tuple[str, ...]:
    """Return the parts of an absolute path without its root; a drive is a part."""
    drive = path.drive.strip("\\/").replace(":", "").replace("\\", "_")
    return (drive, *path.parts[1:]) if drive else path.parts[1:]
