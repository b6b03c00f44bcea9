"""Frames to one vector, chunk by chunk, in constant memory where the result allows."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]  # (frames, dim), at least one frame


class Pool(ABC):
    """Takes the frames of one recording in order and gives its pooled values."""

    factor = 1  # values out for each value of a frame

    @abstractmethod
    def add(self, frames: Frames) -> None:
        """Take the next frames."""

    @abstractmethod
    def result(self) -> Frames:
        """Return the pooled values."""


class Mean(Pool):
    """The mean over time: (dim,)."""

    def __init__(self) -> None:
        self.count = 0
        self.total: NDArray[np.float64] | float = 0.0

    def add(self, frames: Frames) -> None:
        self.count += len(frames)
        self.total = self.total + frames.sum(axis=0, dtype=np.float64)

    def result(self) -> Frames:
        return np.asarray(self.total / self.count, np.float32)


class Max(Pool):
    """The largest value over time: (dim,)."""

    def __init__(self) -> None:
        self.top: Frames | None = None

    def add(self, frames: Frames) -> None:
        top = frames.max(axis=0)
        self.top = top if self.top is None else np.maximum(self.top, top)

    def result(self) -> Frames:
        return np.asarray(self.top, np.float32)


class MeanStd(Pool):
    """The mean and the standard deviation over time, one after the other: (2 * dim,).

    The moments of chunks are merged as in Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979.
    """

    factor = 2

    def __init__(self) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] | float = 0.0
        self.squares: NDArray[np.float64] | float = 0.0

    def add(self, frames: Frames) -> None:
        count, total = len(frames), self.count + len(frames)
        mean = frames.mean(axis=0, dtype=np.float64)
        delta = mean - self.mean
        squares = np.square(frames - mean).sum(axis=0)
        self.squares = self.squares + squares + delta**2 * self.count * count / total
        self.mean = self.mean + delta * count / total
        self.count = total

    def result(self) -> Frames:
        deviation = np.sqrt(self.squares / self.count)
        return np.concatenate([self.mean, deviation]).astype(np.float32)


class NoPooling(Pool):
    """No pooling, every frame: (frames, dim)."""

    def __init__(self) -> None:
        self.parts: list[Frames] = []

    def add(self, frames: Frames) -> None:
        self.parts.append(frames.copy())

    def result(self) -> Frames:
        return np.concatenate(self.parts)


POOLINGS: dict[str, type[Pool]] = {"mean": Mean, "max": Max, "meanstd": MeanStd, "none": NoPooling}
