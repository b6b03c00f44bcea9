"""Curves that follow from a run's log: normalized, smoothed, averaged."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl_training.train.metrics import Curves

SMOOTH = 1 / 30  # of a run, to each side of a running mean
LATE = 0.25  # share of a run over which cosines are averaged


def select_group(curves: Curves, group: str) -> Curves:
    """Return the curves of a group by their short names, where they are more than gaps."""
    return {
        key.removeprefix(f"{group}/"): (steps, values)
        for key, (steps, values) in curves.items()
        if key.startswith(f"{group}/") and np.isfinite(values).any()
    }


def normalized_losses(curves: Curves) -> Curves:
    """Return each worker's loss divided by what it was before learning.

    That is its ``start/``, or where none was logged its first value; for a long log, the mean of
    the first half per cent, 5 at most. A loss that starts at 0 or below is left as it is.
    """
    starts = select_group(curves, "start")
    out: Curves = {}
    for name, (steps, values) in select_group(curves, "loss").items():
        known = values[np.isfinite(values)]
        first = known[: min(5, max(1, len(known) // 200))].mean()
        if name in starts:
            first = starts[name][1][np.isfinite(starts[name][1])][0]
        out[name] = (steps, values / first if first > 0 else values)
    return out


def smoothed(curves: Curves) -> Curves:
    """Return running means of what is finite, centred but for the end, exact at the start."""
    out: Curves = {}
    for name, (steps, values) in curves.items():
        places = np.arange(len(values))
        half = np.minimum(int(SMOOTH * len(values)), places)
        first, last = places - half, np.minimum(places + half + 1, len(values))
        known = np.isfinite(values)
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        n = counts[last] - counts[first]
        means = np.where(n > 0, (sums[last] - sums[first]) / np.maximum(n, 1), np.nan)
        out[name] = (steps, means)
    return out


def mean_cosines(curves: Curves, names: Sequence[str]) -> tuple[NDArray[np.float64], int, int]:
    """Return the pairs' mean cosines in the last quarter of a run, and its first and last step.

    Shape (workers, workers); NaN on the diagonal and where nothing was logged.
    """
    cosines = select_group(curves, "cosine")
    compared = np.unique(np.concatenate([[0], *(steps for steps, _ in cosines.values())]))
    last = int(compared[-1])
    first = int(compared[compared >= (1 - LATE) * last][0])
    matrix = np.full((len(names), len(names)), np.nan)
    for i, j in itertools.combinations(range(len(names)), 2):
        steps, values = cosines.get(f"{names[i]}-{names[j]}", (np.zeros(0), np.zeros(0)))
        late = values[(steps >= first) & np.isfinite(values)]
        if len(late):
            matrix[i, j] = matrix[j, i] = late.mean()
    return matrix, first, last


class Speed(NamedTuple):
    """Pace of a run."""

    hours: float  # of audio, in an hour on the clock
    waiting: float  # share of the time in which it waited for data, 0 to 1


def speed(curves: Curves, lines: int = 50) -> Speed:
    """Return how fast a run went over the last lines of its log; NaN where it does not say.

    A line tells how long its own step waited; the steps between lines are taken to be like it.
    """
    if not {"hours", "wall", "waiting"} <= curves.keys():
        return Speed(math.nan, math.nan)
    steps, wall = (np.concatenate([[0.0], part])[-lines - 1 :] for part in curves["wall"])
    hours = np.concatenate([[0.0], curves["hours"][1]])[-lines - 1 :]
    seconds = wall[-1] - wall[0]
    if not seconds > 0:
        return Speed(math.nan, math.nan)
    waiting = np.nanmean(curves["waiting"][1][-lines:]) * (steps[-1] - steps[0])
    return Speed(float((hours[-1] - hours[0]) / seconds * 3600), float(min(1, waiting / seconds)))
