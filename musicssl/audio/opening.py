"""`open_source`: what came in is opened, checked and, in every message, named."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union

from numpy.typing import NDArray

from musicssl.audio.arrays import open_array
from musicssl.audio.decode import open_file
from musicssl.audio.decoder import Decoder
from musicssl.audio.mix import MIXES
from musicssl.audio.remote import is_url
from musicssl.audio.remote_errors import shown_url
from musicssl.audio.resample import RESAMPLERS
from musicssl.audio.source import Source, check_rate
from musicssl.errors import AudioError, pick

if TYPE_CHECKING:
    import torch

AudioInput: TypeAlias = Union[str, os.PathLike[str], BinaryIO, NDArray[Any], "torch.Tensor"]

MOST_CHANNELS = 64


def open_source(
    audio: AudioInput,
    sr: float | None = None,
    *,
    sample_rate: int,
    resampler: str = "soxr",
    channel_axis: int | None = None,
    mono: str = "mean",
) -> Source:
    """Open a path, URL, binary file, array or tensor for reading at `sample_rate`.

    Parameters
    ----------
    audio
        Files are decoded by content, by FFmpeg or libsndfile, in constant memory; file objects
        from where they stand; URLs are fetched first, with fsspec. Arrays and tensors (any
        device; moved to the CPU) have shape (samples,) or (channels, samples) with up to 64
        channels; floats within about [-1, 1], or int8, int16, int32 or uint8, scaled to it.
    sr
        Hz, 1,000 to 1,000,000. Required with arrays and tensors; files know theirs, and one
        that differs is an error.
    sample_rate
        Hz, of the blocks.
    resampler
        A key of `RESAMPLERS`; unused if the rates are equal.
    channel_axis
        Axis of the channels in a 2-D array: 0 or 1, counted from the end if negative. Needed
        if there are more rows than columns, or more than 8 channels.
    mono
        How channels become one: "mean", or "left" or "right", the first or the second alone.

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
        If there is no such resampler or `mono`.
    DependencyError
        If the resampler's package is missing.

    Examples
    --------
    >>> import numpy as np
    >>> second = np.zeros((2, 44_100), np.int16)
    >>> with open_source(second, 44_100, sample_rate=22_050) as source:
    ...     sum(len(block) for block in source.blocks())
    22050
    """
    name = _name(audio)
    make = pick(RESAMPLERS, resampler, "resampler")
    mix = pick(MIXES, mono, "mono")()
    if isinstance(audio, str) and not audio:
        raise AudioError("the path is empty; expected that of a file.")
    try:
        to_rate = check_rate(sample_rate, "sample_rate")
        if channel_axis not in (None, 0, 1, -1, -2):
            raise AudioError(f"channel_axis is {channel_axis!r}; expected 0, 1, -1 or -2.")
        given = None if sr is None else check_rate(sr, "sr")
        if isinstance(audio, (str, os.PathLike)) or hasattr(audio, "read"):
            decoder: Decoder = open_file(audio)
        else:
            decoder = open_array(audio, given, channel_axis)
        try:
            if given not in (None, decoder.rate):
                raise AudioError(
                    f"sr={given} was given, but the file says {decoder.rate} Hz; "
                    "leave sr out for files (None in a list)."
                )
            rate = check_rate(decoder.rate, "its sample rate")
            if not 1 <= decoder.channels <= MOST_CHANNELS:
                raise AudioError(
                    f"{decoder.channels:,} channels; expected 1 to {MOST_CHANNELS}. Transposed?"
                )
            if rate != to_rate:
                make(rate, to_rate)  # a missing package shows here
        except Exception:
            decoder.close()
            raise
    except AudioError as error:
        raise type(error)(f"{name}: {error}") from error.__cause__
    return Source(name, rate, decoder.channels, decoder.frames, to_rate, decoder, make, mix)


def _name(audio: Any) -> str:
    """Name the input for messages."""
    if is_url(audio):
        return shown_url(audio)
    if isinstance(audio, (str, Path)):
        return str(audio)
    if isinstance(audio, os.PathLike):
        try:
            return os.fsdecode(audio)
        except Exception as error:
            raise AudioError(f"{type(audio).__name__} does not give its path: {error!r}") from error
    if isinstance(name := getattr(audio, "name", None), str) and name:
        return name
    kind = type(audio).__name__
    try:
        return f"audio ({kind} of shape {tuple(audio.shape)})"
    except Exception:  # most have none, nested tensors raise
        return f"audio ({kind})"
