"""Standardization over a collection: what all of it has in common does not count."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**10  # rows at a time, so that they stay in the cache
_NOISE = 4 * float(np.finfo(np.float32).eps)  # of values that are all the same but for rounding


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Subtracts a collection's mean and divides by its standard deviation, value by value.

    A value that is the same in the whole collection tells nothing apart, and is left out. Where
    that is all of them, as in a collection of one, vectors stay as they are.
    """

    center: NDArray[np.float64]  # (dim,)
    scale: NDArray[np.float64]  # (dim,); what is left out has 0

    @classmethod
    def fit(cls, values: NDArray[np.float32]) -> Self:
        """Measure a collection of shape (n, dim), n at least 1."""
        n, dim = values.shape
        blocks = [values[i : i + BLOCK] for i in range(0, n, BLOCK)]
        center = np.sum([block.sum(axis=0, dtype=np.float64) for block in blocks], axis=0) / n
        # two passes: the difference of two large sums would lose what small spreads there are
        squares = np.sum([np.square(block - center).sum(axis=0) for block in blocks], axis=0)
        spread = np.sqrt(squares / n)
        varies = spread > _NOISE * np.abs(center)
        if not varies.any():
            return cls(np.zeros(dim), np.ones(dim))
        return cls(center, np.divide(1.0, spread, out=np.zeros(dim), where=varies))

    def units(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return standardized vectors of length 1, and the lengths that they had.

        A vector that is the collection's very mean has no direction: it stays 0, and so is its
        similarity to any other.
        """
        units = np.empty(values.shape, np.float32)
        lengths = np.empty(len(values), np.float32)
        for i in range(0, len(values), BLOCK):
            block = (values[i : i + BLOCK] - self.center) * self.scale
            length = np.linalg.norm(block, axis=1)
            divisor = np.where(length > 0, length, 1.0)
            units[i : i + BLOCK] = block / divisor[:, None]
            lengths[i : i + BLOCK] = length
        return units, lengths

    def restore(
        self, units: NDArray[np.float32], lengths: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the vectors that `units` was given, to the precision of their type."""
        spread = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)
        values = np.empty(units.shape, np.float32)
        for i in range(0, len(units), BLOCK):
            block = units[i : i + BLOCK].astype(np.float64) * lengths[i : i + BLOCK, None]
            values[i : i + BLOCK] = block * spread + self.center
        return values
