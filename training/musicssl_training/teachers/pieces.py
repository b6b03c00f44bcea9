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
