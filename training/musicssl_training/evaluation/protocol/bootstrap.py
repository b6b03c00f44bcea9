"""Bootstrap over groups, with the same draws for every embedding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
CELLS = 8_000_000  # draws times items that are weighted at a time

Array = NDArray[np.float64]


def draw_groups(groups: NDArray[Any], draws: int = DRAWS, seed: int = 0) -> Array:
    """Return how often each item is drawn when whole groups are drawn with replacement.

    Parameters
    ----------
    groups
        Shape (items,). Items of a group resemble each other, so that drawing them independently
        would give too narrow intervals [1]_.

    Returns
    -------
    numpy.ndarray, shape (draws, items)
        Integer counts.

    References
    ----------
    .. [1] Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8.
    """
    names, index = np.unique(groups, return_inverse=True)
    chosen = np.random.default_rng([seed, 19]).integers(len(names), size=(draws, len(names)))
    counts = np.zeros((draws, len(names)), np.float32)
    for row, groups_drawn in zip(counts, chosen, strict=True):
        row += np.bincount(groups_drawn, minlength=len(names))
    return counts[:, index].astype(np.float64)


def interval(draws: Array) -> tuple[float, float]:
    """Return the central 95 % interval of bootstrap scores."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
