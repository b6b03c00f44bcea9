"""Random places of the excerpts of one recording, without overlap."""

import numpy as np
from numpy.typing import NDArray


def draw_starts(
    length: int, samples: int, count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw where the excerpts of one recording start.

    Parameters
    ----------
    length
        Samples of the recording, at least `samples`.
    samples
        Length of an excerpt.
    count
        Excerpts.
    random
        Gives the random numbers.

    Returns
    -------
    numpy.ndarray, shape (count,)
        In random order. No two excerpts overlap where the recording has room for all, and then all
        such placements are equally likely; otherwise each start is drawn for itself.
    """
    if length < count * samples:
        return random.integers(length - samples + 1, size=count)
    # A placement without overlap, each excerpt shrunk to one sample, is a choice of `count` out of
    # the samples that are then left; blowing the excerpts up again shifts the later ones.
    places = np.sort(random.choice(length - count * (samples - 1), count, replace=False))
    return random.permutation(places + np.arange(count) * (samples - 1))


def redraw_start(
    length: int, samples: int, others: NDArray[np.int64], random: np.random.Generator
) -> int:
    """Draw one start anew, uniform over where it overlaps none of the `others`.

    Where there is no such place, it is uniform over the whole recording.
    """
    others = np.sort(others)
    first = np.array([0, *(others + samples)])  # possible starts before, between and behind them
    last = np.array([*(others - samples), length - samples])
    room = np.cumsum((last - first + 1).clip(min=0))
    if not room[-1]:
        return int(random.integers(length - samples + 1))
    place = random.integers(room[-1])
    gap = int(np.searchsorted(room, place, side="right"))
    return int(last[gap] + 1 - (room[gap] - place))
