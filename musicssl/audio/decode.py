"""Decode files in blocks of float32: the one place that knows formats."""

import os
import re
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicssl.errors import AudioError

BLOCK_SECONDS = 10
BLOCK_VALUES = 2**23  # samples times channels: 32 MiB, for very high rates and many channels

# Sizes from here on are what programs write that cannot know the length, such as pipes.
PLACEHOLDER_SIZE = 0x7FFF0000
UNKNOWN_FRAMES = 2**62

# Containers without a length: FFmpeg guesses it from the bit rate.
BARE_STREAMS = frozenset({"aac", "ac3", "eac3", "mp3", "dts", "truehd", "amr", "loas", "mpegts"})


class Decoder(ABC):
    """An opened input: what its header says, and its samples, once through."""

    rate: int
    channels: int
    frames: int | None  # expected; None: unknown
    promised: int | None  # what the header says, more than `frames` if the file is cut off
    damage: str | None = None  # why decoding stopped before the end
    by_path: bool = False  # it opened the path itself and needs no stream

    def __init__(self) -> None:
        self.closing = ExitStack()

    @property
    def block_frames(self) -> int:
        """Length of a block."""
        return max(1, min(BLOCK_SECONDS * self.rate, BLOCK_VALUES // self.channels))

    @abstractmethod
    def read(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks, shape (samples, channels); each is valid until the next is asked for."""

    def close(self) -> None:
        """Release the file; the second time does nothing."""
        self.closing.close()


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read straight through.

    `SoundFile.read` seeks after every block: MP3 decoders then lose their bit reservoir and
    give other samples, and FLAC streams of unknown length fail.
    """

    def seekable(self) -> bool:
        return False


class SoundFileDecoder(Decoder):
    """WAV, FLAC, Ogg, MP3 and whatever else libsndfile reads."""

    def __init__(self, target: "bytes | str | _FromHere", stream: "_FromHere") -> None:
        """Open `target`; `stream` gives the same bytes."""
        super().__init__()
        try:
            self._file = _Forward(target)
            self.by_path = target is not stream
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            if "does not exist" in reason:  # what its MP3 reader says of anything but MP3
                reason = "Format not recognised"
            raise AudioError(reason) from None
        self.closing.callback(self._file.close)
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = self._file.frames
        if self.frames == 0:
            self.close()
            raise AudioError("no samples")
        if self.frames >= UNKNOWN_FRAMES or (self._file.format == "MP3" and not _has_tag(stream)):
            self.frames = None
        self.promised = self.frames and _promised(self._file.extra_info, self.frames)

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Decode into one buffer, again and again."""
        buffer = np.empty((self.block_frames, self.channels), np.float32)
        while self.damage is None:
            buffer[:, 0] = np.nan  # libsndfile does not say how much it decoded before an error
            try:
                block = self._file.read(out=buffer)
            except soundfile.LibsndfileError as error:
                self.damage = error.error_string.rstrip(".")
                missing = np.isnan(buffer[:, 0])
                block = buffer[: missing.argmax()] if missing.any() else buffer
            if not len(block):
                return
            yield block


class AvDecoder(Decoder):
    """What FFmpeg reads, through PyAV."""

    def __init__(self, stream: "_FromHere") -> None:
        super().__init__()
        self._av = import_module("av")
        # A playlist must not make FFmpeg open other files or addresses.
        options = {"protocol_whitelist": "none"}
        try:
            container = self._av.open(stream, options=options, metadata_errors="ignore")
            self.closing.callback(container.close)
            if not container.streams.audio:
                raise AudioError("no audio stream")
            audio = container.streams.audio[0]
            self._decoded = container.decode(audio)
            self._first: Any = next(self._decoded, None)
        except (self._av.FFmpegError, AudioError) as error:
            self.close()
            raise AudioError(getattr(error, "strerror", None) or str(error)) from None
        if self._first is None:
            self.close()
            raise AudioError("no samples")
        self.rate, self.channels = self._first.sample_rate, len(self._first.layout.channels)
        guessed = audio.duration is None or container.format.name in BARE_STREAMS
        self.frames = None if guessed else round(audio.duration * audio.time_base * self.rate)
        self.promised = self.frames

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Join decoded packets to blocks."""
        parts: list[NDArray[np.float32]] = []
        waiting = 0
        for part in self._planes():
            parts.append(part)
            waiting += part.shape[1]
            if waiting >= self.block_frames:
                yield np.concatenate(parts, axis=1).T
                parts, waiting = [], 0
        if parts:
            yield np.concatenate(parts, axis=1).T

    def _planes(self) -> Iterator[NDArray[np.float32]]:
        """Yield packets as float32, shape (channels, samples)."""
        frame, layout = self._first, self._first.layout
        convert = self._av.AudioResampler(format="fltp", layout=layout, rate=self.rate)
        try:
            while frame is not None:
                for converted in convert.resample(frame):
                    yield converted.to_ndarray()
                frame = next(self._decoded, None)
        except (self._av.FFmpegError, ValueError) as error:
            self.damage = getattr(error, "strerror", None) or str(error)


def open_file(audio: Any) -> Decoder:
    """Open a path or a binary file object, with libsndfile or else with PyAV.

    Raises
    ------
    AudioError
        Without the file's name: the caller knows it.
    """
    with ExitStack() as opened:
        if isinstance(audio, (str, os.PathLike)):
            file = opened.enter_context(_open_path(Path(audio)))
            stream = _FromHere(file)
            # libsndfile reads a path without Python's help, but takes .raw for headerless.
            by_name = Path(audio).suffix.lower() != ".raw"
            path = str(audio) if sys.platform == "win32" else os.fsencode(audio)
            target = path if by_name else stream
        else:
            stream = target = _FromHere(audio)
        try:
            decoder: Decoder = SoundFileDecoder(target, stream)
        except AudioError as reason:
            decoder = _open_with_av(stream, reason)
        if not decoder.by_path:
            files = opened.pop_all()  # to be closed after what reads from them
            files.push(decoder.closing)
            decoder.closing = files
        return decoder


def _open_with_av(stream: "_FromHere", reason: AudioError) -> Decoder:
    """Open what libsndfile refused for `reason`."""
    stream.seek(0)
    try:
        return AvDecoder(stream)
    except ImportError:
        raise AudioError(
            f"cannot be decoded (libsndfile: {reason}). If it is audio, "
            'pip install "musicssl[av]" reads m4a, aac, wma and much else that libsndfile cannot.'
        ) from None
    except AudioError as second:
        raise AudioError(f"cannot be decoded (libsndfile: {reason}; PyAV: {second}).") from None


def _open_path(path: Path) -> BinaryIO:
    """Open a regular file, or say what it is instead."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("is a directory; musicssl-embed takes folders.")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("is not a regular file; read it into an io.BytesIO first.")
        if not status.st_size:
            raise AudioError("is empty: 0 bytes.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"cannot be opened ({reason}).") from None


class _FromHere:
    """A binary file as if it began where it stands now; it has no name to be misled by."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._file, self._start = file, file.tell()
            file.seek(self._start)
            text = not isinstance(file.read(0), bytes)
        except (OSError, AttributeError, ValueError) as error:
            raise AudioError(
                f"must be open and seekable ({error}); read it into an io.BytesIO first."
            ) from None
        if text:
            raise AudioError("is open as text; open it with mode 'rb'.")

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = self._start if whence == os.SEEK_SET else 0
        return self._file.seek(start + offset, whence) - self._start


def _has_tag(stream: _FromHere) -> bool:
    """Whether an MP3's first frame says how long it is; without, libsndfile only guesses."""
    position = stream.tell()
    stream.seek(0)
    head = stream.read(10)
    if head[:3] == b"ID3":
        high, *low = head[6:10]
        size = high
        for byte in low:
            size = size << 7 | byte
        stream.seek(10 + size)
    first = head + stream.read(4096)
    stream.seek(position)
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


def _promised(log: str, frames: int) -> int:
    """Return how many frames the header of a cut file promises, from libsndfile's log.

    libsndfile corrects the header of WAV, AIFF, AU and W64 files silently, and logs
    ``data : 4410492 (should be 2646278)``.
    """
    for line in log.splitlines():
        found = re.fullmatch(r"\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", line)
        if found and (here := int(found[2])) < (size := int(found[1])) < PLACEHOLDER_SIZE:
            return frames * size // max(1, here)
    return frames
