"""Audio by URL, fetched with fsspec into a file that is gone when it was read."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from musicssl.errors import AudioError, DependencyError

_URL = re.compile(r"[a-z][a-z0-9+.-]+(::[a-z][a-z0-9+.-]+)*://", re.IGNORECASE)  # no drive: "C:"


def is_url(audio: object) -> bool:
    """Tell whether a string is a URL, such as ``s3://bucket/song.flac``.

    Examples
    --------
    >>> is_url("https://example.org/song.mp3"), is_url("C:/song.mp3"), is_url("song://")
    (True, False, True)
    """
    return isinstance(audio, str) and _URL.match(audio) is not None


def shown_url(url: str) -> str:
    """Return a URL for messages: without a password, and without what is often a key.

    Examples
    --------
    >>> shown_url("https://me:secret@example.org/song.mp3?token=5")
    'https://example.org/song.mp3'
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an unclosed "["
        return url.partition("://")[0] + "://..."
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


@contextlib.contextmanager
def fetched(url: str) -> Iterator[BinaryIO]:
    """Fetch a file and open it; it is removed afterwards.

    All of it is fetched before it is decoded: decoders jump about in a file, and a connection that
    breaks would look like the end of the music.

    Yields
    ------
    BinaryIO
        The file.

    Raises
    ------
    AudioError
        If it cannot be fetched, or is empty.
    DependencyError
        If fsspec, or what it needs for this kind of URL, is missing.
    """
    system, path = _filesystem(url)
    with tempfile.TemporaryDirectory(prefix="musicssl-") as folder:
        file = Path(folder, "audio")
        try:
            system.get_file(path, str(file))
        except Exception as error:  # of any package that fsspec uses
            why = " ".join(str(error).split()).replace(url, shown_url(url))[:200]
            kind = type(error).__name__
            raise AudioError(f"cannot be fetched ({kind}: {why}).") from error
        if not file.is_file() or not file.stat().st_size:
            raise AudioError("cannot be fetched: it is a folder, or empty.")
        with file.open("rb") as opened:
            yield opened


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        core = import_module("fsspec.core")
        system, path = core.url_to_fs(url)
    except ImportError as error:
        kind = url.partition("://")[0]
        said = "" if error.name == "fsspec" else f" ({' '.join(str(error).split())[:200]})"
        raise DependencyError(
            f"{kind}:// needs fsspec and what it reads {kind} with: "
            f"pip install 'musicssl[remote]'{said}. Or fetch the file yourself."
        ) from error
    except ValueError as error:  # of a protocol that it does not know
        raise AudioError(f"is a URL that fsspec cannot read ({error}).") from error
    return system, path
