"""Frames to one vector per window, while they come."""

import math
from collections import deque
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from musicssl.pooling import Frames, Pool


class Windows(Pool):
    """Windows of one length at equal distances, each pooled: (windows, values).

    Window ``k`` holds the frames whose centers lie in ``[k * hop, k * hop + window)``. The last
    window is the first that reaches the end of the frames, and holds what is left of them. With
    ``hop > window``, what lies between windows is in none.

    Parameters
    ----------
    kind
        How each window is pooled.
    window, hop
        Seconds, at least a frame each.
    frame_rate
        Frames per second.
    """

    def __init__(self, kind: type[Pool], window: float, hop: float, frame_rate: Fraction) -> None:
        self._kind = kind
        # By way of text, 0.1 is a tenth and its multiples fall on frames as one would count them.
        self.window, self.hop = Fraction(str(window)), Fraction(str(hop))
        self._rate = frame_rate
        self._count = 0  # frames so far
        self._done: list[Frames] = []
        self._open: deque[Pool] = deque()

    def add(self, frames: Frames) -> None:
        end = self._count + len(frames)
        while self._span(len(self._done) + len(self._open))[0] < end:
            self._open.append(self._kind())
        for k, pool in enumerate(self._open, len(self._done)):
            first, stop = self._span(k)
            part = frames[max(0, first - self._count) : stop - self._count]
            if len(part):
                pool.add(part)
        self._count = end
        while self._open and self._span(len(self._done))[1] <= end:
            self._done.append(self._open.popleft().result())

    def result(self) -> Frames:
        values = self._done + [pool.result() for pool in self._open]
        reaches = (k for k in range(len(values)) if self._span(k)[1] >= self._count)
        return np.stack(values[: next(reaches, len(values)) + 1])

    def times(self, count: int) -> NDArray[np.float64]:
        """Return the centers of the first `count` windows, in seconds."""
        return np.array([float(k * self.hop + self.window / 2) for k in range(count)])

    def _span(self, k: int) -> tuple[int, int]:
        """Return a window's first frame and the one after its last."""
        start = k * self.hop
        return math.ceil(start * self._rate), math.ceil((start + self.window) * self._rate)
