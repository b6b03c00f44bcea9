"""Streamed audio in chunks with exact context: everything counts in samples or frames."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl.frames import frame_count


class Chunk(NamedTuple):
    """Frames of a stretch of audio that count, and their place in the whole."""

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
