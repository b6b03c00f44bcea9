"""`open_source`: what came in is opened, checked and, in every message, named."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.arrays import open_array
from musicssl.audio.decode import Decoder, open_file
from musicssl.audio.resample import RESAMPLERS, Resampler, resampled_length
from musicssl.errors import AudioError, pick

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

AudioInput: TypeAlias = Union[str, os.PathLike[str], BinaryIO, NDArray[Any], "torch.Tensor"]

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz
MOST_CHANNELS = 64
MOST_PEAK = 64.0  # float audio is about [-1, 1]; 16-bit integers as floats reach 32768


@dataclass(eq=False)
class Source:
    """Opened audio, to be read once through `blocks`; close it, or use it in a ``with``.

    Sources do not share state: different ones can be read in different threads.
    """

    name: str  # for messages
    native_rate: int  # Hz
    channels: int
    native_samples: int | None  # by the header; None: unknown
    sample_rate: int  # Hz, of the blocks
    _decoder: Decoder = field(repr=False)
    _resampler: Resampler | None = field(repr=False)
    truncated: bool = False  # after `blocks`: the header promised more, or decoding broke off
    _used: bool = field(default=False, repr=False)

    @property
    def samples(self) -> int | None:
        """Expected total of `blocks`; None if unknown, and a file's header may be wrong."""
        if self.native_samples is None:
            return None
        return resampled_length(self.native_samples, self.native_rate, self.sample_rate)

    @property
    def duration(self) -> float | None:
        """Expected seconds; None if unknown."""
        return None if self.native_samples is None else self.native_samples / self.native_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decode, mix to mono as the mean of the channels, and resample.

        Returns
        -------
        iterator of numpy.ndarray, shape (samples,)
            About 10 s each, ``resampled_length(decoded samples)`` in total.

        Raises
        ------
        AudioError
            If called a second time or after `close`; while reading, if there are no samples,
            or NaN, infinity or peaks that no audio has.
        """
        if self._used:
            raise AudioError(f"{self.name}: already read or closed; open it again.")
        self._used = True
        return self._blocks()

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        native = given = 0
        try:
            for block in self._decoder.read():
                mono = _mono(block)
                self._check(block, mono, native)
                native += len(mono)
                ready = mono if self._resampler is None else self._resampler(mono)
                given += len(ready)
                if len(ready):
                    yield ready
            self._finish(native)
        finally:
            self.close()
        left = resampled_length(native, self.native_rate, self.sample_rate) - given
        if self._resampler is not None and left:
            yield self._resampler(np.empty(0, np.float32), last=True)[:left]

    def _check(self, block: NDArray[np.float32], mono: NDArray[np.float32], start: int) -> None:
        """Refuse what is not audio; `start` is the block's first sample."""
        low, high = mono.min(), mono.max()
        if low >= -MOST_PEAK and high <= MOST_PEAK:  # false for NaN
            return
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            first = (start + int(finite.argmin())) / self.native_rate
            raise AudioError(
                f"{self.name}: {np.count_nonzero(~finite):,} of {len(block):,} samples from "
                f"{start / self.native_rate:.3f} s on are NaN or infinite, the first at "
                f"{first:.6f} s."
            )
        raise AudioError(
            f"{self.name}: peak {max(-low, high):,.0f}, but audio lies in [-1, 1]. "
            "This looks like integers stored as floats: divide by 32768."
        )

    def _finish(self, native: int) -> None:
        """Say what is missing of a file that ends before its time."""
        promised, damage = self._decoder.promised, self._decoder.damage
        if not native:
            raise AudioError(f"{self.name}: no samples could be decoded ({damage or 'empty'}).")
        if promised is None:
            self.truncated = damage is not None
        else:  # encoders' padding makes headers wrong by a few thousand samples
            self.truncated = native < promised - max(self.native_rate // 10, 4096)
        if self.truncated:
            whole = "" if promised is None else f" of {promised / self.native_rate:.3f} s"
            log.warning(
                "%s: cut off or damaged; only its first %.3f s%s are used%s",
                self.name,
                native / self.native_rate,
                whole,
                f" ({damage})." if damage else ".",
            )

    def close(self) -> None:
        """Release the file; a file object that was passed in stays open."""
        self._used = True
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(
    audio: AudioInput,
    sr: float | None = None,
    *,
    sample_rate: int,
    resampler: str = "soxr",
    channel_axis: int | None = None,
) -> Source:
    """Open a path, binary file, array or tensor for reading at `sample_rate`.

    Parameters
    ----------
    audio
        Files are decoded by content, by libsndfile or, where that fails, by PyAV, in constant
        memory; file objects from where they stand. Arrays and tensors (any device; moved to
        the CPU) have shape (samples,) or (channels, samples) with up to 64 channels; floats
        within about [-1, 1], or int8, int16, int32 or uint8, scaled to it.
    sr
        Hz, 1,000 to 1,000,000. Required with arrays and tensors; files know theirs, and one
        that differs is an error.
    sample_rate
        Hz, of the blocks.
    resampler
        A key of `RESAMPLERS`; unused if the rates are equal.
    channel_axis
        Axis of the channels in a 2-D array: 0 or 1, counted from the end if negative. Needed
        if there are more rows than columns.

    Returns
    -------
    Source
        Not yet decoded: bad samples show while its blocks are read.

    Raises
    ------
    AudioError
        If there is no such file or it cannot be decoded, or if the array, its rate or its
        shape cannot be audio.
    ConfigError
        If there is no such resampler.
    DependencyError
        If the resampler's package is missing.

    Examples
    --------
    >>> second = np.zeros((2, 44_100), np.int16)
    >>> with open_source(second, 44_100, sample_rate=22_050) as source:
    ...     sum(len(block) for block in source.blocks())
    22050
    """
    name = _name(audio)
    make = pick(RESAMPLERS, resampler, "resampler")
    try:
        to_rate = _rate(sample_rate, "sample_rate")
        if channel_axis not in (None, 0, 1, -1, -2):
            raise AudioError(f"channel_axis is {channel_axis!r}; expected 0, 1, -1 or -2.")
        given = None if sr is None else _rate(sr, "sr")
        if isinstance(audio, (str, os.PathLike)) or hasattr(audio, "read"):
            decoder: Decoder = open_file(audio)
        else:
            decoder = open_array(audio, given, channel_axis)
        try:
            if given not in (None, decoder.rate):
                raise AudioError(
                    f"sr={given} was given, but the file says {decoder.rate} Hz; "
                    "leave sr out for files."
                )
            rate = _rate(decoder.rate, "its sample rate")
            if not 1 <= decoder.channels <= MOST_CHANNELS:
                raise AudioError(
                    f"{decoder.channels:,} channels; expected 1 to {MOST_CHANNELS}. Transposed?"
                )
            resample = None if rate == to_rate else make(rate, to_rate)
        except Exception:
            decoder.close()
            raise
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error.__cause__
    return Source(name, rate, decoder.channels, decoder.frames, to_rate, decoder, resample)


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over channels, (samples, channels) -> (samples,); ten times faster than ``mean(1)``."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0].copy()  # the next block overwrites this one
    with np.errstate(over="ignore", invalid="ignore"):  # checked and reported afterwards
        total = block[:, 0] + block[:, 1]
        for channel in range(2, channels):
            total += block[:, channel]
        total *= np.float32(1 / channels)
    return total


def _rate(value: Any, what: str) -> int:
    """Return a rate in Hz as an integer."""
    wanted = f"expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise AudioError(f"{what} is {value!r}; {wanted}.")
    number = float(value)
    if not LOWEST_RATE <= number <= HIGHEST_RATE:
        hint = " Is that kHz?" if LOWEST_RATE <= number * 1000 <= HIGHEST_RATE else ""
        raise AudioError(f"{what} is {value}; {wanted}.{hint}")
    if number != int(number):
        raise AudioError(f"{what} is {value}; expected a whole number of Hz.")
    return int(number)


def _name(audio: Any) -> str:
    """Name the input for messages."""
    if isinstance(audio, (str, Path)):
        return str(audio)
    if isinstance(audio, os.PathLike):
        return os.fsdecode(audio)
    if isinstance(name := getattr(audio, "name", None), str) and name:
        return name
    kind = type(audio).__name__
    shape = getattr(audio, "shape", None)
    return f"audio ({kind})" if shape is None else f"audio ({kind} of shape {tuple(shape)})"
