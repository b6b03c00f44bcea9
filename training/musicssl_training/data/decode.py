"""Decoding of recordings, and the refusal of those that come out shorter than they should."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.errors import AudioError

TOLERANCE = 0.5  # seconds: what encoders add, and what indexes round
SHARE = 0.002  # of a long recording: clocks differ


class IncompleteError(AudioError):
    """A recording of which a part is missing.

    Parameters
    ----------
    message
        What is missing.
    seconds
        How long the recording should be; None if unknown.
    """

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


def decode(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """Return a whole audio file, mono, shape (samples,)."""
    with open_source(path, sample_rate=sample_rate) as source:
        return np.concatenate(list(source.blocks()))


def decode_complete(
    path: Path, sample_rate: int, seconds: float | None = None
) -> NDArray[np.float32]:
    """Return a whole audio file, mono, shape (samples,), or refuse it.

    Parameters
    ----------
    path
        Audio file.
    sample_rate
        Hz, of the result.
    seconds
        How long it should be, where an index says so.

    Raises
    ------
    IncompleteError
        If it comes out shorter than its header or the index says, by more than half a second and
        0.2 %; or if it is cut off or damaged, and neither says how long it is.
    AudioError
        If it cannot be read at all.
    """
    with open_source(path, sample_rate=sample_rate) as source:
        audio = np.concatenate(list(source.blocks()))
    for name, expected in (("its header", source.promised), ("the index", seconds)):
        if expected is not None and too_short(source.decoded, expected):
            raise IncompleteError(
                f"{path}: {source.decoded:.1f} s could be decoded, {name} says {expected:.1f} s.",
                expected,
            )
    harmed = source.truncated or source.damaged
    if harmed and source.promised is None and seconds is None:
        what = "cut off" if source.truncated else f"damaged in {source.damaged} spots"
        raise IncompleteError(
            f"{path}: {what}, and nothing says how long it should be "
            f"({source.decoded:.1f} s could be decoded). An index may have a column 'seconds'.",
            None,
        )
    return audio


def too_short(seconds: float, expected: float) -> bool:
    """Tell whether a recording is shorter than expected, beyond a tolerance."""
    return seconds < expected - max(TOLERANCE, SHARE * expected)
