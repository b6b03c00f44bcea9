"""Integer arithmetic of hops, contexts, chunks and times: everything counts in samples or frames.

Frame ``i`` of an embedding is centred on sample ``i * hop``. Audio of ``n`` samples has
``ceil(n / hop)`` frames, so that the last frame's centre lies inside the audio.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.errors import AudioError, ConfigError

MOST_FRAMES = 10**9  # a year of audio
MOST_HOP = 10**6


def frame_count(samples: int, hop: int) -> int:
    """Return how many frames `samples` samples have: ``ceil(samples / hop)``."""
    return -(-samples // hop)


def frame_times(
    n_frames: int, *, hop: int, sample_rate: float, first: int = 0
) -> NDArray[np.float64]:
    """Return the centre of each embedding frame.

    Parameters
    ----------
    n_frames
        0 to 1,000,000,000.
    hop
        Samples between frames, 1 to 1,000,000.
    sample_rate
        Hz, above 0.
    first
        Index of the first frame, 0 to 1,000,000,000.

    Returns
    -------
    numpy.ndarray, shape (n_frames,)
        Seconds from the start of the audio.

    Raises
    ------
    AudioError
        If one of them is not such a number.

    Notes
    -----
    Integers up to the last division: rounding the hop first drifts by 25 ms in 37 min [1]_.

    References
    ----------
    .. [1] Turian et al., "HEAR: Holistic Evaluation of Audio Representations", 2022.

    Examples
    --------
    >>> frame_times(3, hop=882, sample_rate=22_050)
    array([0.  , 0.04, 0.08])
    """
    limits: dict[str, Any] = {"least": 0, "most": MOST_FRAMES, "error": AudioError}
    n_frames = arguments.integer(n_frames, "n_frames", **limits)
    first = arguments.integer(first, "first", **limits)
    hop = arguments.integer(hop, "hop", most=MOST_HOP, error=AudioError)
    sample_rate = arguments.number(sample_rate, "sample_rate", error=AudioError)
    return np.arange(first, first + n_frames, dtype=np.int64) * hop / sample_rate


class Chunk(NamedTuple):
    """Which frames of a stretch of audio count, and where they belong."""

    skip: int  # frames of context before those that count
    first: int  # index, in the whole, of the first that counts
    frames: int  # how many count


def cut(
    blocks: Iterable[NDArray[np.float32]], *, hop: int, context: int, chunk: int | None
) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
    """Cut streamed audio into chunks that, context dropped, give what the whole would give.

    Parameters
    ----------
    blocks
        Successive stretches of the audio, each of shape (samples,).
    hop
        Samples between frames.
    context
        Samples that the encoder hears on each side of a frame; rounded up to whole hops.
    chunk
        Samples between the starts of chunks, before context, at least 1; rounded up to whole
        hops. None leaves everything in one piece.

    Yields
    ------
    tuple of Chunk and numpy.ndarray
        In order; the chunks' frames cover ``0:frame_count(samples, hop)`` exactly once. Audio not
        longer than ``chunk + context`` stays in one piece.

    Raises
    ------
    ConfigError
        If `hop` or `chunk` is not positive: there would be no end of chunks.
    """
    if hop < 1 or (chunk is not None and chunk < 1):
        raise ConfigError(f"hop and chunk must be at least 1 sample, got {hop} and {chunk}.")
    margin, step = frame_count(context, hop), 0 if chunk is None else frame_count(chunk, hop)
    held: list[NDArray[np.float32]] = []  # samples start:end
    first = start = end = 0
    for block in blocks:
        held.append(block)
        end += len(block)
        while step and end > (first + step + margin) * hop:
            audio = np.concatenate(held)
            stop = (first + step + margin) * hop
            yield Chunk(first - start // hop, first, step), audio[: stop - start]
            first += step
            next_start = max(0, first - margin) * hop
            held, start = [audio[next_start - start :].copy()], next_start
    if end > first * hop:
        rest = Chunk(first - start // hop, first, frame_count(end, hop) - first)
        yield rest, np.concatenate(held)
