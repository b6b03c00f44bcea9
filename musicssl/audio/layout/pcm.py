"""Formats of plain samples, and whether bytes can be a stretch of them."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.stream import ByteStream

LOOKED_AT = 8192  # bytes at four places, to tell samples from something else


@dataclass(frozen=True)
class PcmFormat:
    """Storage format of plain samples."""

    width: int  # bytes of each
    channels: int
    little: bool  # the most significant byte comes last
    law: str = ""  # "mu" or "a" of logarithmic ones
    floats: bool = False

    def plausible(self, data: bytes) -> bool:
        """Tell whether `data` can be a stretch of music rather than of anything else.

        Compressed data and the like have all values alike, each without regard to the one before;
        text has no negative ones.
        """
        size = len(data) // self.width * self.width
        if self.floats:
            values = np.frombuffer(data[:size], f"{'<' if self.little else '>'}f{self.width}")
            sizes = np.abs(values)
            return bool(np.mean((sizes == 0) | ((sizes > 1e-9) & (sizes < 4))) > 0.99)
        places = np.frombuffer(data[:size], np.int8).reshape(-1, self.width)
        values = places[:, -1 if self.little else 0].astype(np.float64) / 128
        if self.law:
            values = _expand(data, self.law)
        elif self.width == 1 and self.little:  # WAV stores bytes from 0 to 255
            values = np.where(values < 0, values + 1, values - 1)
        if len(values) <= 2 * self.channels or not values.any():
            return False
        power = np.mean(values**2)
        alike = np.mean(values[self.channels :] * values[: -self.channels]) / power
        return not (abs(values.mean()) > 0.25 or (power > 0.16 and alike < 0.3))


def _expand(data: bytes, law: str) -> NDArray[np.float64]:
    """Return logarithmic samples in [-1, 1] (ITU-T G.711)."""
    codes = np.frombuffer(data, np.uint8) ^ (0xFF if law == "mu" else 0xD5)
    steps, segment = (codes & 15).astype(np.float64), (codes >> 4 & 7).astype(np.float64)
    if law == "mu":
        size = (2 * steps + 33) * 2**segment - 33
    else:
        size = (2 * steps + 1 + 32 * (segment > 0)) * 2.0 ** np.maximum(segment - 1, 0)
    return np.where(codes & 128, -size, size) / (8192 if law == "mu" else 4096)


def read_pcm_format(stream: ByteStream, facts: dict[bytes, int]) -> PcmFormat | None:
    """Return how the samples are stored; None where they are not plain integers."""
    little, law, floats = True, "", False
    if b"fmt " in facts:
        fmt = stream.peek(facts[b"fmt "], 26)
        kind, channels, _, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
        if kind == 0xFFFE and len(fmt) == 26:  # WAVE_FORMAT_EXTENSIBLE says it later
            (kind,) = struct.unpack("<H", fmt[24:26])
        law, floats = {6: "a", 7: "mu"}.get(kind, ""), kind == 3
        plain = kind in {1, 3, 6, 7}
    elif b"COMM" in facts:
        channels, _, bits = struct.unpack(">HIH", stream.peek(facts[b"COMM"], 8))
        name = stream.peek(facts[b"COMM"] + 18, 4) if stream.peek(8, 4) == b"AIFC" else b"NONE"
        little, floats = name == b"sowt", name in {b"fl32", b"FL32", b"fl64", b"FL64"}
        law = {b"alaw": "a", b"ulaw": "mu", b"ALAW": "a", b"ULAW": "mu"}.get(name, "")
        plain = bool(law) or floats or name in {b"NONE", b"sowt", b"twos", b"in24", b"in32"}
        bits = 8 if law else bits
    elif b"desc" in facts:
        name, flags, channels, bits = struct.unpack(">8x4sI8xII", stream.peek(facts[b"desc"], 32))
        law = {b"alaw": "a", b"ulaw": "mu"}.get(name, "")
        little, floats, plain = bool(flags & 2), bool(flags & 1), bool(law) or name == b"lpcm"
    else:
        return None
    if not plain or bits not in {8, 16, 24, 32, 64} or not 1 <= channels <= 64:
        return None
    if floats and bits < 32:
        return None
    return PcmFormat(bits // 8, channels, little, law, floats)


def continues(stream: ByteStream, start: int, end: int, size: int, samples: PcmFormat) -> bool:
    """Tell whether what follows the samples, which begin at `start`, is more of them."""
    frame = samples.width * samples.channels
    end = start - (start - end) // frame * frame  # where one begins
    starts = [end + (size - end) // frame * i // 4 * frame for i in range(4)]
    pieces = [stream.peek(start, LOOKED_AT) for start in starts]
    heard = [samples.plausible(piece) for piece in pieces if any(piece)]
    return bool(heard) and all(heard)
