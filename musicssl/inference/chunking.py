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
    cutter = Cutter(hop=hop, context=context, chunk=chunk)
    for block in blocks:
        yield from cutter.add(block)
    yield from cutter.rest()


class Cutter:
    """`cut`, for audio that comes from outside, block by block.

    Parameters
    ----------
    hop, context, chunk
        As there.
    most
        Samples between the starts of chunks at most, where more than a chunk is there; rounded up
        to whole hops. None for as many as `chunk`.

    Raises
    ------
    ConfigError
        As `cut`.
    """

    def __init__(
        self, *, hop: int, context: int, chunk: int | None, most: int | None = None
    ) -> None:
        if hop < 1 or (chunk is not None and chunk < 1):
            raise ConfigError(f"hop and chunk must be at least 1 sample, got {hop} and {chunk}.")
        self.hop, self.margin = hop, frame_count(context, hop)
        self.step = 0 if chunk is None else frame_count(chunk, hop)
        self.most = max(self.step, frame_count(most or 0, hop))
        self._held: list[NDArray[np.float32]] = []  # samples start:end
        self._first = self._start = self._end = 0

    @property
    def held(self) -> int:
        """Samples that are kept for what comes."""
        return self._end - self._start

    def add(self, block: NDArray[np.float32]) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Take the next stretch of the audio, and yield the chunks that it completes."""
        hop = self.hop
        self._held.append(block)
        self._end += len(block)
        while self.step and (ready := self._ready()) >= self.step:
            step, first, start = min(ready, self.most), self._first, self._start
            audio = np.concatenate(self._held)
            stop = (first + step + self.margin) * hop
            yield Chunk(first - start // hop, first, step), audio[: stop - start]
            self._first = first + step
            self._start = max(0, self._first - self.margin) * hop
            self._held = [audio[self._start - start :].copy()]

    def _ready(self) -> int:
        """Return how many frames have all of their context, and audio beyond it."""
        return (self._end - 1) // self.hop - self.margin - self._first

    def rest(self) -> Iterator[tuple[Chunk, NDArray[np.float32]]]:
        """Yield what is left at the end, if anything is."""
        first, start = self._first, self._start
        if self._end > first * self.hop:
            frames = frame_count(self._end, self.hop) - first
            yield Chunk(first - start // self.hop, first, frames), np.concatenate(self._held)
