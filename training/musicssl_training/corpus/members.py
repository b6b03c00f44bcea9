"""Files inside sources, as untrusted as the sources: read in order, nothing run or followed."""

import contextlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import FORMAT_AUTO, LZMADecompressor, LZMAError
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from musicssl_training.corpus.errors import ArchiveError
from musicssl_training.corpus.patterns import INSIDE, safe_path

MAX_UNPACKED = 16 * 2**30  # bytes that one archive may unpack to
MAX_HEADER = 2**20  # bytes of a name in a tar archive
MAX_DICTIONARY = 2**29  # bytes of memory that an xz stream may ask for
BLOCK = 2**18
LONG = (b"x", b"g", b"X", b"L", b"K")  # types of tar headers that hold names and the like
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    LZMAError,
    zlib.error,
    EOFError,
    OSError,
    UnicodeError,
)
UNREADABLE = (*BROKEN, RuntimeError, NotImplementedError)  # a zip with a password, odd methods


@dataclass(frozen=True)
class Member:
    """A regular file of a source.

    Attributes
    ----------
    path
        Safe to write, see `safe_path`.
    open
        Opens it; once at most, and before the next member is asked for.
    file
        Where it is, if it is a file of its own.
    """

    path: str
    open: Callable[[], IO[bytes]]
    file: Path | None = None


@dataclass(frozen=True)
class Refused:
    """What a source holds besides regular files with safe names, and why it is not taken."""

    path: str
    reason: str


Members = Iterator[Member | Refused]


def deb_members(file: Path) -> Members:
    """Yield the files of a Debian package.

    Yields
    ------
    Member or Refused
        In the order of the package.

    Raises
    ------
    ArchiveError
        If it is damaged, or unpacks to more than `MAX_UNPACKED`.
    """
    with _readable(file.name), file.open("rb") as deb:
        yield from _tar_members(_deb_part(deb, "data.tar"))


def deb_facts(file: Path) -> dict[str, str]:
    """Return the fields of a Debian package's control file.

    Raises
    ------
    ArchiveError
        If it is no Debian package.
    """
    with _readable(file.name), file.open("rb") as deb:
        for member in _tar_members(_deb_part(deb, "control.tar")):
            if isinstance(member, Member) and member.path == "control":
                text = member.open().read(MAX_HEADER).decode("utf-8", "replace")
                lines = [line.partition(":") for line in text.splitlines()]
                return {key: value.strip() for key, colon, value in lines if colon}
    raise ArchiveError(f"{file.name} has no control file: not a Debian package.")


def zip_members(file: IO[bytes], name: str) -> Members:
    """Yield the files of a zip archive that is called `name`.

    Yields
    ------
    Member or Refused
        In the order of the archive.

    Raises
    ------
    ArchiveError
        If it is damaged.
    """
    with _readable(name), zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            path, kind = safe_path(info.filename), info.external_attr >> 28
            path = path and name + INSIDE + path
            if path is None:
                yield Refused(name + INSIDE + info.filename, "its name is not safe")
            elif kind not in (0, 8):  # of Unix modes: unknown, or a regular file
                yield Refused(path, "a link or a device")
            else:
                yield Member(path, lambda info=info: archive.open(info))  # type: ignore[misc]


def folder_members(root: Path, without: Path | None = None) -> Members:
    """Yield the files of a folder; symbolic links are refused, hidden files passed over.

    Parameters
    ----------
    root
        The folder.
    without
        A folder that is passed over if it is in there.

    Yields
    ------
    Member or Refused
        In the order of their names.
    """
    passed_over = without and without.resolve()
    for folder, folders, files in os.walk(root.resolve()):
        kept = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(name for name in kept if Path(folder, name) != passed_over)
        for name in sorted(files):
            file = Path(folder, name)
            inside = file.relative_to(root.resolve()).as_posix()
            if name.startswith("."):
                continue
            if file.is_symlink():
                yield Refused(inside, "a link")
            elif file.is_file():
                safe = safe_path(inside)
                open_file = cast(Callable[[], IO[bytes]], lambda file=file: file.open("rb"))
                yield (
                    Member(safe, open_file, file)
                    if safe
                    else Refused(inside, "its name is not safe")
                )


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say what is damaged, for an archive that cannot be read (any further)."""
    try:
        yield
    except ArchiveError:
        raise
    except UNREADABLE as error:
        raise ArchiveError(f"{name} is damaged: {error}.") from error


def _deb_part(deb: BinaryIO, name: str) -> IO[bytes]:
    """Return one of the two tar archives in a Debian package, unpacked, as a stream."""
    if deb.read(8) != b"!<arch>\n":
        raise ArchiveError("not a Debian package: it does not begin with '!<arch>'.")
    while len(header := deb.read(60)) == 60:
        member, digits = header[:16].decode("latin-1").strip().rstrip("/"), header[48:58].strip()
        if not digits.isdigit():
            break
        start, size = deb.tell(), int(digits)
        if member.startswith(name):
            return _unpacked(_Part(deb, size), member.removeprefix(name))
        deb.seek(start + size + size % 2)
    raise ArchiveError(f"not a Debian package: it has no {name}.")


def _unpacked(part: "_Part", suffix: str) -> IO[bytes]:
    if suffix not in ("", ".gz", ".xz", ".lzma"):
        raise ArchiveError(f"packed as {suffix}, which cannot be read; known are gz and xz.")
    packed = io.BufferedReader(part, BLOCK)
    return io.BufferedReader(_Unpacking(packed, suffix), BLOCK)


class _Part(io.RawIOBase):
    """A stretch of a file, from where it stands."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError("it is cut short")
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class _Unpacking(io.RawIOBase):
    """What a compressed stream unpacks to, bounded in memory and size."""

    def __init__(self, packed: IO[bytes], suffix: str) -> None:
        self._packed, self._left = packed, MAX_UNPACKED
        self._zlib = zlib.decompressobj(31) if suffix == ".gz" else None  # 31: with its header
        known = suffix in (".xz", ".lzma")
        self._lzma = LZMADecompressor(FORMAT_AUTO, MAX_DICTIONARY) if known else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise ArchiveError(f"it unpacks to more than {MAX_UNPACKED:,} bytes.")
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        if self._zlib is not None:
            while not self._zlib.eof:
                packed = self._zlib.unconsumed_tail or self._packed.read(BLOCK)
                if data := self._zlib.decompress(packed, size):
                    return data
                if not packed:
                    raise EOFError("it is cut short")
            return b""
        if self._lzma is not None:
            while not self._lzma.eof:
                hungry = self._lzma.needs_input  # asked before: it may turn so without an output
                packed = self._packed.read(BLOCK) if hungry else b""
                if data := self._lzma.decompress(packed, size):
                    return data
                if hungry and not packed:
                    raise EOFError("it is cut short")
            return b""
        return self._packed.read(size)


class _Info(tarfile.TarInfo):
    """A header of a tar archive; one that asks for much memory is refused."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Info":
        info = super().frombuf(buf, encoding, errors)
        long = info.type not in tarfile.SUPPORTED_TYPES or info.type in LONG
        if long and info.size > MAX_HEADER:
            raise ArchiveError(f"a header has {info.size:,} bytes.")
        return info


def _tar_members(stream: IO[bytes]) -> Members:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Info) as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # or millions of names pile up
            path = safe_path(info.name)
            if info.isdir():
                continue
            if path is None:
                yield Refused(info.name.removeprefix("./"), "its name is not safe")
            elif not info.isreg() or info.issparse():
                yield Refused(path, "a link or a device")
            else:
                yield Member(
                    path, cast(Callable[[], IO[bytes]], lambda info=info: archive.extractfile(info))
                )
