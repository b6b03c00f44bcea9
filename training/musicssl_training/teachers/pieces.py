"""Recordings that come in blocks, cut into overlapping pieces."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def pieces(
    blocks: Iterable[NDArray[np.float32]], size: int, step: int, before: int, after: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Yield pieces of `size` samples, one every `step`, as far as they are whole.

    Parameters
    ----------
    blocks
        A recording, in blocks of any length.
    size, step
        Samples.
    before, after
        Samples of silence around the recording.

    Yields
    ------
    numpy.ndarray, shape (size,)
        Piece `i` begins ``i * step - before`` samples after the recording's start.
    """

    def padded() -> Iterator[NDArray[np.float32]]:
        yield np.zeros(before, np.float32)
        yield from blocks
        yield np.zeros(after, np.float32)

    held = np.zeros(0, np.float32)
    for block in padded():
        held = np.concatenate([held, block])
        whole = max(0, (len(held) - size) // step + 1)
        for first in range(0, whole * step, step):
            yield held[first : first + size]
        held = held[whole * step :]


def covering(
    blocks: Iterable[NDArray[np.float32]], size: int, step: int, steps: int, before: int
) -> Iterator[tuple[NDArray[np.float32], int, int]]:
    """Yield pieces that have a recording's steps side by side.

    Parameters
    ----------
    blocks
        A recording, in blocks of any length.
    size
        Samples of a piece.
    step
        Samples.
    steps
        Of a piece.
    before
        Samples of a piece before its first step.

    Yields
    ------
    tuple
        A piece; how many of its steps begin in the recording; and how many of these are whole.
    """
    samples = done = 0

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            yield block

    # a whole piece of silence behind: whatever has sounded lies in the middle of a piece
    for piece in pieces(counted(), size, steps * step, before, size):
        begun = min(steps, -(-samples // step) - done)  # all are known once it has ended
        if begun <= 0:
            return
        yield piece, begun, min(begun, samples // step - done)
        done += steps
