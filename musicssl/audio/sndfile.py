"""Decoding with libsndfile: exact and fast where samples are stored as they are."""

import re
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicssl.audio.decoder import Decoder
from musicssl.audio.headers import UNKNOWN_SIZE
from musicssl.audio.stream import ByteStream
from musicssl.errors import AudioError

UNKNOWN_FRAMES = 2**62
COMPRESSED = frozenset({"MP3", "OGG"})  # of these, libsndfile only guesses the length
COUNTED = frozenset(
    {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"}
)  # from the size of the file
# Stored sample by sample, or in frames that say their place: a seek is exact.
EXACT = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)
REFUSED = frozenset({"RAW", "SDS"})  # anything without a header; dumps of samplers' memory


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file read straight through.

    `SoundFile.read` seeks after every block: MP3 decoders then lose their bit reservoir and
    give other samples, and FLAC streams of unknown length fail.
    """

    def seekable(self) -> bool:
        return False


class SoundFileDecoder(Decoder):
    """WAV, AIFF, CAF, AU and whatever else libsndfile reads."""

    def __init__(self, stream: ByteStream) -> None:
        super().__init__()
        self._stream = stream
        stream.seek(0)
        try:
            self._file = _Forward(stream)  # a stream without a name: nothing to be misled by
        except soundfile.LibsndfileError as error:
            stream.check()
            reason = error.error_string.rstrip(".")
            if "does not exist" in reason:  # what its MP3 reader says of anything but MP3
                reason = "Format not recognised"
            raise AudioError(reason) from None
        self.closing.callback(self._file.close)
        self.rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = self._file.frames
        stream.check()
        if self.frames == 0 or self._file.format in REFUSED:
            self.close()
            raise AudioError("no samples" if self.frames == 0 else "Format not recognised")
        if self.frames >= UNKNOWN_FRAMES or self._file.format in COMPRESSED:
            self.frames = None
        self.counted = self._file.format in COUNTED
        self.promised = self.frames and _promised(self._file.extra_info, self.frames)

    def skip(self, samples: int) -> bool:
        exact = self._file.subtype in EXACT and (self.counted or self._file.format == "FLAC")
        if not exact or self.frames is None or not 0 <= samples < self.frames:
            return False
        try:
            return bool(self._file.seek(samples) == samples)
        except soundfile.LibsndfileError:
            self._stream.check()
            self._file.seek(0)
            return False

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Decode into one buffer, again and again."""
        buffer = np.empty((self.block_frames, self.channels), np.float32)
        while self.broken is None:
            buffer[:, 0] = np.nan  # libsndfile does not say how much it decoded before an error
            try:
                block = self._file.read(out=buffer)
            except soundfile.LibsndfileError as error:
                self._stream.check()
                self.broken = error.error_string.rstrip(".")
                missing = np.isnan(buffer[:, 0])
                block = buffer[: missing.argmax()] if missing.any() else buffer
            self._stream.check()
            if not len(block):
                return
            yield block


def _promised(log: str, frames: int) -> int:
    """Return how many frames the header of a cut file promises, from libsndfile's log.

    libsndfile corrects the header of WAV, AIFF, AU and W64 files silently, and logs
    ``data : 4410492 (should be 2646278)``.
    """
    for line in log.splitlines():
        found = re.fullmatch(r"\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", line)
        if found and (here := int(found[2])) < (size := int(found[1])) < UNKNOWN_SIZE:
            return frames * size // max(1, here)
    return frames
