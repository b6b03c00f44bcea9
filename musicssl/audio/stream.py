"""Byte streams that decoders written in C may call back into, whatever the file object does."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from musicssl.errors import AudioError

NO_SUCH_POSITION = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)  # of a seek; nothing is broken


@dataclass
class Shared:
    """State that the streams over one file share."""

    failures: list[BaseException] = field(default_factory=list)
    at: int | None = None  # where the file stands, as far as they know


class ByteStream:
    """A binary file as a decoder sees it: from where it stands, without a name, never raising.

    C code cannot pass a Python exception on, and takes a read that failed for the end of the file.
    So `read`, `seek` and `tell` keep the first exception instead, for `check` to raise.

    Parameters
    ----------
    file
        A seekable binary file object, left open.
    start, stop
        The stretch of it to show, in bytes; by default from where it stands to its end.
    patches
        Bytes to show in place of what stands at an offset of the stretch.
    mark, after
        The stretch ends where `mark` stands, from offset `after` on, as soon as it is met.
    shared
        What streams over one file have in common; by default, there is no other one.

    Raises
    ------
    AudioError
        If `file` is not open, not seekable, or open as text.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int | None = None,
        stop: int | None = None,
        patches: Mapping[int, bytes] | None = None,
        mark: bytes = b"",
        after: int = 0,
        shared: "Shared | None" = None,
    ) -> None:
        self._shared = Shared() if shared is None else shared
        self._failures = self._shared.failures
        try:
            self.start = _position(file) if start is None else start
            self._shared.at = None
            file.seek(self.start)
            text = isinstance(file.read(0), str)
        except Exception as error:
            raise AudioError(
                f"must be open and seekable ({error}); read it into an io.BytesIO first."
            ) from error
        if text:
            raise AudioError("is open as text; open it with mode 'rb'.")
        self.file, self.stop, self.patches = file, stop, dict(patches or {})
        self._mark, self._after = mark, after
        self._at = 0  # position in the stretch
        self._tail = (0, b"")  # where the last read ended, and its last bytes

    def check(self) -> None:
        """Raise what went wrong in a callback, if anything did.

        Raises
        ------
        AudioError
            If the medium or the file object failed; the exception itself is the cause.
        BaseException
            KeyboardInterrupt and the like, as they were.
        """
        if not self._failures:
            return
        failure = self._failures[0]
        if isinstance(failure, AudioError) or not isinstance(failure, Exception):
            raise failure
        what = getattr(failure, "strerror", None) or str(failure) or type(failure).__name__
        if not isinstance(failure, OSError):
            what = f"{type(failure).__name__}: {failure}"
        raise AudioError(f"cannot be read to its end ({what}).") from failure

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; fewer only at the end, none after a failure."""
        if self._failures:
            return b""
        try:
            if self.stop is not None:
                left = max(0, self.stop - self.start - self._at)
                size = left if size < 0 else min(size, left)
            if self._shared.at != self.start + self._at:  # another stream has moved the file
                self.file.seek(self.start + self._at)
            self._shared.at = None
            data = self._read(size)
            self._shared.at = self.start + self._at + len(data)
        except BaseException as error:
            self._failures.append(error)
            return b""
        if self.patches:
            data = self._patched(data)
        if self._mark:
            data = self._before_mark(data)
        self._at += len(data)
        return data

    def _read(self, size: int) -> bytes:
        """Read until there is enough: raw files and sockets give what they have."""
        data = self.file.read(size)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            hint = ""
            if hasattr(data, "dtype"):  # of a soundfile.SoundFile
                hint = " Pass the path, or the samples with their rate: (samples, sample_rate)."
            raise AudioError(f"its read() returned {type(data).__name__}, not bytes.{hint}")
        if size < 0 or not len(data):
            return bytes(data)
        if len(data) < size:
            parts = [bytes(data)]
            missing = size - len(data)
            while missing and (more := self.file.read(missing)):
                parts.append(bytes(more))
                missing -= len(more)
            data = b"".join(parts)
        if len(data) > size:
            raise AudioError(f"its read({size}) returned {len(data)} bytes: a broken file object.")
        return bytes(data)

    def _patched(self, data: bytes) -> bytes:
        for offset, new in self.patches.items():
            first, last = max(offset, self._at), min(offset + len(new), self._at + len(data))
            if first < last:
                data = (
                    data[: first - self._at]
                    + new[first - offset : last - offset]
                    + data[last - self._at :]
                )
        return data

    def _before_mark(self, data: bytes) -> bytes:
        """Return what stands before the mark, and end the stretch there if it is met."""
        end, tail = self._tail
        tail = tail if end == self._at else b""
        first = self._at - len(tail)
        seen = tail + data
        found = seen.find(self._mark, max(0, self._after - first))
        if found >= 0:
            self.stop = self.start + first + found
            data = seen[:found][len(tail) :]
        self._tail = (self._at + len(data), (tail + data)[1 - len(self._mark) :])
        return data

    def tell(self) -> int:
        """Return the position in the stretch."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; one that cannot be returns -1 and changes nothing."""
        if self._failures:
            return -1
        try:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
            target = offset + (self.size() if base is None else base)
            if not 0 <= target < 2**62:
                return -1
            self._shared.at = None
            self.file.seek(self.start + target)
            self._shared.at = self.start + target
            self._at = target
        except (ValueError, OverflowError):  # what files say of positions that they cannot have
            return -1
        except OSError as error:
            if error.errno not in NO_SUCH_POSITION:
                self._failures.append(error)
            return -1
        except BaseException as error:
            self._failures.append(error)
            return -1
        return target

    def size(self) -> int:
        """Return the length of the stretch in bytes; leaves the stream where it stands."""
        if self.stop is not None:
            return self.stop - self.start
        self._shared.at = None
        self.file.seek(0, os.SEEK_END)
        return max(0, _position(self.file) - self.start)

    def length(self) -> int:
        """Return `size`, or raise as `check`.

        Raises
        ------
        AudioError
            As `check`.
        """
        try:
            return self.size()
        except BaseException as error:
            self._failures.append(error)
            self.check()
            raise

    def peek(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; leaves the stream where it stands.

        Raises
        ------
        AudioError
            As `check`.
        """
        before = self.tell()
        self.seek(offset)
        data = self.read(size)
        self.seek(before)
        self.check()
        return data

    def part(
        self,
        start: int,
        stop: int | None = None,
        patches: Mapping[int, bytes] | None = None,
        mark: bytes = b"",
        after: int = 0,
    ) -> "ByteStream":
        """Return a stretch of this stretch as a stream of its own, over the same file."""
        end = self.stop if stop is None else self.start + stop
        return ByteStream(self.file, self.start + start, end, patches, mark, after, self._shared)


def _position(file: Any) -> int:
    at = file.tell()
    if isinstance(at, bool) or not isinstance(at, int):
        raise AudioError(f"its tell() returned {at!r}, not a number of bytes.")
    return at


def open_path(path: Path) -> BinaryIO:
    """Open a regular file, or say what it is instead.

    Raises
    ------
    AudioError
        If there is no such file, or it is empty, a folder, a device or unreadable.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"cannot be opened ({reason}).") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("is a directory; musicssl-embed takes folders.")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("is not a regular file; read it into an io.BytesIO first.")
    raise AudioError("is empty: 0 bytes.")
