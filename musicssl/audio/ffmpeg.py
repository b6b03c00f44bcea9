"""Decoding with FFmpeg, through PyAV: compressed formats, past damage and changes of format."""

from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.decoder import MOST_PEAK, Decoder, falls_short
from musicssl.audio.headers import (
    mp3_has_tag,
    mp3_promise,
    mp3_stated,
    ogg_end,
    riff_is_cut,
)
from musicssl.audio.layout import TAGS, is_padding, leaves_something
from musicssl.audio.stream import ByteStream
from musicssl.audio.timestamps import FrameClock
from musicssl.errors import AudioError, NoAudioError

# Containers that state their length, where others have it guessed from the bit rate.
STATED = frozenset(
    {"flac", "mov,mp4,m4a,3gp,3g2,mj2", "wav", "w64", "aiff", "caf", "au", "ape", "tta", "wv"}
    | {"dsf", "iff", "asf", "mpc", "mpc8", "tak", "matroska,webm"}
)
# Packets say when they are.
TIMED = frozenset({"flac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg", "flv", "asf", "avi"})
# Frames follow one another to the end of the file, where at most tags may stand.
BARE = frozenset(
    {"flac", "mp3", "aac", "ac3", "eac3", "tta", "wv", "ape", "dts", "tak", "mpc", "mpc8"}
)
MOST_PLANES = 7
NOT_A_REST = 4096  # bytes that cannot be decoded at the end: more than half a frame or a tag
LATE = 16_384  # bytes in packets that cannot be decoded, before the first that can
PATIENCE = 20  # errors of the container in a row, without a packet between them
OPTIONS = {"protocol_whitelist": "none"}  # a playlist must not open other files or addresses
SCALES = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "s64": 2**63}


class FFmpegDecoder(Decoder):
    """Decoder of everything that FFmpeg reads.

    A packet that cannot be decoded is skipped and counted; reading goes on to the end of the
    file, whatever a header says of its length.
    """

    def __init__(self, stream: ByteStream, hint: str | None = None) -> None:
        """Open `stream` as what its content says, or as FFmpeg's format `hint`."""
        super().__init__()
        self._stream, self._length = stream, stream.length()
        stream.seek(0)
        try:
            self._av = import_module("av")  # takes a while; arrays and WAV files do without
        except ImportError as error:
            raise AudioError(f"PyAV cannot be imported ({error})") from error
        try:
            self._open(hint)
        except Exception as error:
            self.close()
            stream.check()
            if isinstance(error, AudioError):
                raise
            raise AudioError(getattr(error, "strerror", None) or str(error)) from None
        except BaseException:
            self.close()
            raise

    def _open(self, hint: str | None) -> None:
        container: Any = self._av.open(
            self._stream, format=hint, options=dict(OPTIONS), metadata_errors="ignore"
        )
        self.closing.callback(container.close)
        self._container = container
        audio = container.streams.best("audio")
        if audio is None:
            film = any(stream.type == "video" for stream in container.streams)
            raise (NoAudioError if film else AudioError)("no audio stream")
        self._audio = audio
        if audio.codec_context is None:
            raise AudioError("there is no decoder for its codec")
        audio.codec_context.thread_count = 1  # files are what is decoded side by side
        self._exact = audio.codec_context.name.startswith("pcm_")
        self._timed = container.format.name in TIMED
        self._frames = self._decode()
        self._first = next(self._frames, None)
        self._stream.check()
        if self._first is None:
            raise AudioError(self.broken or "no samples")
        self.rate, self.channels = self._first.sample_rate, self._first.layout.nb_channels
        self.promised = self._promised()
        self.frames = self._expected()

    def _promised(self) -> int | None:
        """Return how many samples the header says there are, where it is to be relied on."""
        name, audio = self._container.format.name, self._audio
        if name == "mp3":
            return mp3_promise(self._stream)
        if name not in STATED:
            return None
        alone = len(self._container.streams) == 1  # the length of a film is not that of its sound
        if audio.duration is not None and (alone or name != "asf"):
            return self._samples_in(audio.duration * audio.time_base) or None
        if alone and self._container.duration is not None:
            return self._samples_in(Fraction(self._container.duration, 1_000_000))
        return None

    def _expected(self) -> int | None:
        """Return how many samples there probably are; None where FFmpeg would only guess."""
        name, audio = self._container.format.name, self._audio
        if self.promised is not None or audio.duration is None:
            return self.promised
        if name == "ogg" or (name == "mp3" and mp3_has_tag(self._stream)):
            skipped = audio.codec_context.delay if audio.codec_context.name == "opus" else 0
            return self._samples_in(audio.duration * audio.time_base) - skipped
        return None

    def _samples_in(self, seconds: Fraction) -> int:
        return round(seconds * self.rate)

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Join decoded frames to blocks; a change of rate, channels or format begins a new one."""
        frame: Any = self._first
        total = 0
        while frame is not None:
            kind = _kind(frame)
            self.rate, self.channels = frame.sample_rate, frame.layout.nb_channels
            size, fifo = self.block_frames, self._av.AudioFifo()
            while frame is not None and _kind(frame) == kind:
                total += frame.samples
                frame.pts = None  # the order of the file is the order of time
                fifo.write(frame)
                if fifo.samples >= size:
                    yield from self._block(fifo.read(size))
                frame = next(self._frames, None)
            if fifo.samples:
                yield from self._block(fifo.read(fifo.samples))
        self._stream.check()
        self._end(total)

    def _end(self, total: int) -> None:
        """Find out whether a file of which `total` samples were heard ended as it should."""
        name = self._container.format.name
        if name == "mp3":
            self._end_mp3(total)
        elif name == "avi":
            self.cut = self.cut or riff_is_cut(self._stream)
        elif name == "ogg":
            self._end_ogg(total)

    def _end_mp3(self, total: int) -> None:
        stated, _ = mp3_stated(self._stream)
        if self.cut and stated and not falls_short(total, stated, self.rate):
            self.cut, self.damaged = False, self.damaged + 1  # it lacks nothing; something follows
        if falls_short(total, mp3_promise(self._stream), self.rate):
            self.cut = True  # if not from the beginning, then since

    def _end_ogg(self, total: int) -> None:
        end, whole = ogg_end(self._stream)
        self.cut = self.cut or not whole
        self.damaged += leaves_something(self._stream, end, NOT_A_REST)
        if self._stream.length() == self._length and falls_short(total, self.frames, self.rate):
            self.damaged += not (self.cut or self.damaged)

    def _block(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Yield a frame's samples, unless no music has its shape."""
        if frame.format.is_planar and frame.layout.nb_channels > MOST_PLANES:
            try:
                frame = self._packed(frame)
            except (self._av.FFmpegError, ValueError):
                self.damaged += 1
                return
        yield self._sane(_samples(frame))

    def _packed(self, frame: Any) -> Any:
        """Return a frame with the channels of each sample side by side.

        PyAV counts a frame's planes up to the first that is missing. Of eight and more there is
        none missing in its list: it would go on into memory that is not the frame's.
        """
        name = frame.format.packed.name
        convert = self._av.AudioResampler(format=name, layout=frame.layout, rate=frame.sample_rate)
        (packed,) = convert.resample(frame)
        return packed

    def _sane(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Silence what a lossy decoder makes of damaged bytes: peaks that no encoder was given."""
        if self._exact or (block.min() >= -MOST_PEAK and block.max() <= MOST_PEAK):
            return block
        self.damaged += 1
        return np.where(np.abs(block) <= MOST_PEAK, block, np.float32(0))  # NaN is not below

    def _decode(self) -> Iterator[Any]:
        """Yield decoded frames, past all that cannot be decoded."""
        lost = rest = 0  # bytes since the last frame, in packets that could not be decoded
        tag = begun = False
        clock = FrameClock(even=self._container.format.name == "flac")
        end = 0  # of the last packet that could be decoded, in the file
        biggest = last = 0  # bytes of a packet before the last one, and of that
        for packet in self._packets():
            try:
                frames: list[Any] = packet.decode()
            except self._av.FFmpegError:
                # A file that was joined to another begins with a tag, and with a frame that tells
                # its length: neither is music.
                data = bytes(packet)
                tag = tag or data.startswith(TAGS)
                lost += 0 if tag else len(data)
                rest += 0 if tag or is_padding(data[len(data) // 2 :]) else len(data)
                continue
            if packet.pos is not None:
                end = max(end, packet.pos + packet.size)
                biggest, last = max(biggest, last), packet.size
            for frame in frames:
                if not frame.samples:
                    continue
                self.late = self.late or (not begun and lost >= LATE)
                begun = True
                self.damaged += lost > 0
                if self._timed:
                    clock.add(frame, counted=lost > 0)
                lost, rest, tag = 0, 0, False
                yield frame
        self.damaged += clock.holes
        self.reached = clock.reached
        self.cut = rest >= NOT_A_REST
        if not self.cut and self._container.format.name in BARE:
            if 0 < 2 * biggest + NOT_A_REST < last:  # swollen by what stands behind its frame
                end -= last - 2 * biggest
            self.damaged += leaves_something(self._stream, end, NOT_A_REST)

    def _packets(self) -> Iterator[Any]:
        """Yield the file's packets, past errors of the container as long as it goes on."""
        errors = 0
        while True:
            try:
                for packet in self._container.demux(self._audio):
                    errors = 0
                    yield packet
                return
            except self._av.FFmpegError as error:
                self._stream.check()
                errors += 1
                if errors > PATIENCE:
                    self.broken = error.strerror or str(error)
                    return


def _kind(frame: Any) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _samples(frame: Any) -> NDArray[np.float32]:
    """Return a frame's samples in [-1, 1], shape (samples, channels)."""
    name, values = frame.format.name, frame.to_ndarray()
    if frame.format.is_planar:
        values = values.T
    else:
        values = values.reshape(-1, frame.layout.nb_channels)
        name += "p"
    scale = SCALES.get(name[:-1])
    if scale is None:
        with np.errstate(over="ignore"):  # doubles beyond float32: silenced or reported as infinite
            block: NDArray[np.float32] = values.astype(np.float32, copy=False)
        return block
    block = values.astype(np.float32)
    if name == "u8p":
        block -= np.float32(128)
    block *= np.float32(1 / scale)
    return block
