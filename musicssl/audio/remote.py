"""Audio by URL, fetched with fsspec into a file that is gone when it was read."""

import contextlib
import io
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from musicssl.audio.remote_errors import plain, protocols, shown_url, status_of, told
from musicssl.errors import AudioError, DependencyError
from musicssl.source_names import is_url as is_url

_SCHEME = re.compile(r"(?:^|(?<=::))[A-Za-z][A-Za-z0-9+.-]*(?=://|::)")  # each of a chain
log = logging.getLogger(__name__)
T = TypeVar("T")

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try, where one may help
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError)
_AGAIN = frozenset({408, 425, 429})  # answers of HTTP below 500 that another try may change
_CLIENTS = {
    *("aiohttp", "aiobotocore", "azure", "botocore", "gcsfs", "google", "httpcore", "httpx"),
    *("huggingface_hub", "requests", "urllib3"),
}
# What reads them beside the packages of musicssl[remote].
_PACKAGES = {
    **{"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"},
    **{"hf": "huggingface_hub", "github": "requests", "sftp": "paramiko", "ssh": "paramiko"},
    **{"smb": "smbprotocol", "webdav": "webdav4", "oss": "ossfs"},
}


@contextlib.contextmanager
def fetched(url: str) -> Iterator[BinaryIO]:
    """Fetch a file and open it; it is removed afterwards.

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
    with fetch(*filesystem(url), url) as file:
        yield file


def fetch(system: Any, path: str, url: str, size: int | None = None) -> BinaryIO:
    """Fetch a file of a file system of fsspec and open it; it is gone when it is closed.

    All of it is fetched before it is decoded: decoders jump about in a file, and a connection that
    breaks would look like the end of the music.

    Parameters
    ----------
    system, path
        As `filesystem` returns them.
    url
        What messages call it.
    size
        How many bytes it has, where that is known: fewer are a connection that broke.

    Raises
    ------
    AudioError
        If it cannot be fetched, or is empty; without the name.
    """

    def once() -> BinaryIO:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(
                tempfile.TemporaryDirectory(prefix="musicssl-", ignore_cleanup_errors=True)
            )
            file = Path(folder, "audio")
            system.get_file(path, str(file))
            found = file.stat().st_size if file.is_file() else 0
            if not found and not size:
                raise AudioError("cannot be fetched: it is a folder, or empty.")
            if size is not None and found != size:
                raise OSError(f"{found:,} of {size:,} bytes came")
            return _Fetched(file, shown_url(url), held.pop_all())

    try:
        return retried(once, shown_url(url))
    except AudioError:
        raise
    except Exception as error:  # of any package that fsspec uses
        raise AudioError(f"cannot be fetched ({told(error, url)}).") from error


class _Fetched(io.BufferedReader):
    """A file that takes the folder that it lies in with it."""

    def __init__(self, file: Path, name: str, held: contextlib.ExitStack) -> None:
        raw = io.FileIO(file)
        raw.name = name
        super().__init__(raw)
        self._held = held

    def close(self) -> None:
        super().close()
        self._held.close()


def retried(work: Callable[[], T], name: str) -> T:
    """Return what `work` returns, trying again where a connection or a server failed."""
    for wait in (*WAITS, None):
        try:
            return work()
        except AudioError:
            raise
        except Exception as caught:
            error = plain(caught)
            status = status_of(error)
            refused = status is not None and status < 500 and status not in _AGAIN
            if wait is None or refused or not _may_pass(error):
                if error is caught:
                    raise
                raise error from None
            log.debug("%s: tried again in %g s", name, wait, exc_info=error)
            time.sleep(wait)
    raise AssertionError


def _may_pass(error: Exception) -> bool:
    """Tell whether an error may be gone at the next try."""
    if isinstance(error, _FINAL) or "Credentials" in type(error).__name__:
        return False
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises
    ------
    AudioError
        If fsspec knows no such URLs.
    DependencyError
        If fsspec, or what it needs for this kind of URL, is missing.
    """
    try:
        core = import_module("fsspec.core")
        lower = _SCHEME.sub(lambda name: name[0].lower(), url)
        system, path = retried(lambda: _opened(core, lower), shown_url(url))
    except ImportError as error:
        kind = _not_installed(url)
        package = f" {_PACKAGES[kind]}" if kind in _PACKAGES else ""
        said = "" if error.name == "fsspec" else f" ({' '.join(str(error).split())[:200]})"
        raise DependencyError(
            f"{kind}:// needs fsspec and what it reads {kind} with: "
            f"pip install 'musicssl[remote]'{package}{said}. Or fetch the file yourself."
        ) from error
    except Exception as error:  # of an archive inside which it points, or of credentials
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            raise AudioError(f"is a URL that fsspec cannot read ({error}).") from error
        raise AudioError(f"cannot be opened ({told(plain(error), url)}).") from error
    return system, path


def _opened(core: Any, url: str) -> tuple[Any, str]:
    try:
        found: tuple[Any, str] = core.url_to_fs(url, use_listings_cache=False)
    except TypeError as error:  # sftp hands options on to paramiko
        if "use_listings_cache" not in str(error):
            raise
        found = core.url_to_fs(url)
    return found


def _not_installed(url: str) -> str:
    """Return which protocol of a chain lacks its package."""
    kinds = protocols(url)
    for kind in kinds:
        try:
            import_module("fsspec").get_filesystem_class(kind)
        except (ImportError, ValueError):
            return kind
    return kinds[-1]
