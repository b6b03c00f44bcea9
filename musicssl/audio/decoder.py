"""Base class of the decoders: blocks of float32, once through."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

BLOCK_SECONDS = 10
MOST_PEAK = 64.0  # float audio is about [-1, 1]; 16-bit integers as floats reach 32768
BLOCK_VALUES = 2**23  # samples times channels: 32 MiB, for very high rates and many channels


TOLERANCE = 4096  # samples, at least, by which encoders' padding makes headers wrong


def falls_short(samples: int, promised: int | None, rate: int) -> bool:
    """Tell whether `samples` are clearly fewer than a header promises."""
    return promised is not None and samples < promised - max(rate // 10, TOLERANCE)


class Decoder(ABC):
    """An opened input: what its header says, and its samples, once through."""

    rate: int  # Hz, of the last block; another one where the stream changes
    channels: int
    frames: int | None  # expected; None: unknown
    counted: bool = False  # whether `frames` is a count of what is there, not what a header says
    promised: int | None  # what the header says, more than `frames` if the file is cut off
    late: bool = False  # whether much could not be decoded before the first sample
    broken: str | None = None  # why decoding ended before the end
    reached: float = 0.0  # seconds, where the last sample belongs that was decoded, if it says so
    cut: bool = False  # whether the content itself ends early
    damaged: int = 0  # spots that were skipped

    def __init__(self) -> None:
        self.closing = ExitStack()

    @property
    def block_frames(self) -> int:
        """Length of a block."""
        return max(1, min(BLOCK_SECONDS * self.rate, BLOCK_VALUES // self.channels))

    @abstractmethod
    def read(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks, shape (samples, channels); each is valid until the next is asked for."""

    def skip(self, samples: int) -> bool:
        """Pass over the first `samples` without decoding them, if the rest then is the very same.

        Called before `read`, if at all; False changes nothing.
        """
        return False

    def close(self) -> None:
        """Release the file; the second time does nothing."""
        self.closing.close()
