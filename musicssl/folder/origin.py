"""Origins of items that are no files on a disk: objects behind a URL, members of tar files."""

import datetime
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from musicssl.audio.remote import fetch, filesystem, is_url, retried
from musicssl.audio.remote_errors import protocols, told
from musicssl.errors import AudioError, DependencyError
from musicssl.folder.ledger import FileStat
from musicssl.folder.paths import lexists

# What file systems call the facts that tell whether an object has changed.
# Those of the content come first: they stay when a bucket is copied.
_ETAGS = (
    *("md5Hash", "blob_id", "sha", "CRC", "Content-MD5", "Digest"),
    *("ETag", "etag", "VersionId"),
)
_TIMES = (
    *("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified"),
    "created",
)


# Where an etag is a hash of the content, as a rule, so that it tells a moved object again. Those of
# web servers often are a size and a time, which the stems of one song share.
_HASHED = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"}


def content_etag(name: str, etag: object) -> str | None:
    """Return what tells an object's content, wherever it lies; None if nothing does."""
    if not isinstance(etag, str) or not is_url(name) or protocols(name)[0] not in _HASHED:
        return None
    return f"etag {etag}"


def is_there(name: str) -> bool:
    """Tell whether a file or an object is there; yes, if that cannot be found out."""
    try:
        if not is_url(name):
            return lexists(Path(name))
        system, path = filesystem(name)
        asked(lambda: system.info(path), name)
    except AudioError as error:
        return not isinstance(error.__cause__, FileNotFoundError)
    except (DependencyError, OSError, ValueError):
        return True
    return True


class Origin(Protocol):
    """Where an item's bytes come from; what it opens has the item's name, for messages."""

    @property
    def name(self) -> str:
        """As the manifest's `path` says it."""

    @property
    def seen(self) -> FileStat:
        """State of the file, known without reading it."""

    def open(self) -> BinaryIO:
        """Open it for reading from its beginning.

        Raises
        ------
        AudioError
            If that is not possible; without the name.
        """


@dataclass(eq=False)
class RemoteFile:
    """An object that fsspec reads, fetched as a whole when it is opened."""

    system: Any  # of fsspec
    path: str  # in it
    name: str
    listed: FileStat | None  # what a listing says of it; None: too little, so it is asked for

    @cached_property
    def seen(self) -> FileStat:
        if self.listed is not None:
            return self.listed
        return stat_of(asked(lambda: self.system.info(self.path), self.name))

    def open(self) -> BinaryIO:
        return fetch(self.system, self.path, self.name, self.seen.size or None)


def stat_of(info: dict[str, Any]) -> FileStat:
    """Return the facts of an object that change when it does."""
    etag = next((str(info[name]).strip('"') for name in _ETAGS if info.get(name)), None)
    settings = info.get("content_settings")  # of adlfs
    if settings and (md5 := settings.get("content_md5")):
        etag = bytes(md5).hex()
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(time, datetime.datetime):
        time = time.timestamp()
    mtime_ns = round(time * 1e9) if isinstance(time, (int, float)) else 0
    if etag is None and isinstance(time, str):
        etag = time  # as it stands: it need only change
    return FileStat(int(info.get("size") or 0), mtime_ns, etag=etag)


def asked(question: Any, url: str) -> Any:
    """Ask a file system, again where its connection fails.

    Raises
    ------
    AudioError
        If it does not answer.
    """
    try:
        return retried(question, url)
    except AudioError:
        raise
    except FileNotFoundError as error:
        raise AudioError(
            f"there is no such file, folder or bucket ({told(error, url)})."
        ) from error
    except Exception as error:  # of any package that fsspec uses
        raise AudioError(f"cannot be looked at ({told(error, url)}).") from error


@dataclass(frozen=True)
class Member:
    """A member of a tar on a disk, which is not compressed: a stretch of that file."""

    archive: Path
    name: str
    start: int
    seen: FileStat

    def open(self) -> BinaryIO:
        try:
            return io.BufferedReader(_Stretch(self.archive, self.name, self.start, self.seen.size))
        except OSError as error:
            raise AudioError(f"cannot be opened ({error.strerror or error}).") from error


@dataclass(frozen=True)
class Held:
    """A file whose bytes are in memory, as what comes by a stream is."""

    data: bytes = field(repr=False)
    name: str
    seen: FileStat

    def open(self) -> BinaryIO:
        return _Bytes(self.data, self.name)


class _Bytes(io.BytesIO):
    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _Stretch(io.RawIOBase):
    """A stretch of a file, as a file."""

    def __init__(self, path: Path, name: str, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self.name, self._start, self._size, self._at = name, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._at, self._size)[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
