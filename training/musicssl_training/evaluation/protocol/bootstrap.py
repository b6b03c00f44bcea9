"""Bootstrap over groups, with the same draws for every embedding.

The bootstrap holds the fitted probes fixed, so its spread is that of new test items alone. Readers
take an interval for what would happen with other music, to test and to train on; `calibrate` widens
the spread to that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

DRAWS = 1000
CELLS = 8_000_000  # draws times items that are weighted at a time
CONFIDENCE = 0.95
SINGLE = 0.35  # see `calibrate`; measured by experiments/interval_coverage.py

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


def calibrate(draws: Array, score: float, *, tested: int, trained: int, size: float) -> Array:
    """Return bootstrap scores around `score`, as widely spread as for new training data too.

    Three factors, on the standard deviation:

    - ``sqrt(1 + share * tested / trained)``: the score varies with the groups that are trained on
      too, in inverse proportion to their number, where that of tested groups counts once. With a
      share of 1 that is the correction of Nadeau and Bengio [1]_, if each group counts once in the
      training data of all folds together. It holds for groups of many items, whose common traits
      are learned along; for single items the share is `SINGLE`, and for groups in between
      ``1 - (1 - SINGLE) / size``.
    - ``sqrt(tested / (tested - 1))``: the bootstrap divides by the number of groups.
    - the quantile of Student's t with ``tested - 1`` degrees of freedom over that of the normal
      distribution: the spread itself is estimated from few groups.

    Parameters
    ----------
    draws
        Bootstrap scores, (draws,).
    score
        The score itself. Draws of macro-F1, for example, are biased: their mean is moved to it.
    tested, trained
        Numbers of groups.
    size
        Of the group of an item, on average: larger than the mean size of groups that differ.

    References
    ----------
    .. [1] Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
    """
    if tested < 2:
        return draws
    tail = (1 + CONFIDENCE) / 2
    small = tested / (tested - 1) * (t.ppf(tail, tested - 1) / norm.ppf(tail)) ** 2
    share = 1 - (1 - SINGLE) / size
    widened: Array = score + np.sqrt(small * (1 + share * tested / trained)) * (
        draws - draws.mean()
    )
    return widened


def interval(draws: Array, lowest: float = -np.inf, highest: float = np.inf) -> tuple[float, float]:
    """Return the central 95 % interval of bootstrap scores, within the range of a metric."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]).clip(lowest, highest)
    return float(low), float(high)
