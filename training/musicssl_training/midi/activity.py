"""Which instrument families play when in a recording, where its stems tell."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from musicssl_training.midi.theory import FAMILIES

ACTIVITY = "activity"  # in a pack's index
PARTS = (*FAMILIES, "drums")  # that may play; their places are their numbers
PLAYS, UNCLEAR = "plays", "unclear"  # what may be said of a stretch; else the part is silent
Stretches = Sequence[Sequence[float]]  # start and end, in seconds


def read_activity(values: Mapping[str, Mapping[str, Stretches]]) -> NDArray[np.float32]:
    """Return what an index says of a recording's parts.

    Parameters
    ----------
    values
        ``{"voice": {"plays": [[0.0, 3.2]], "unclear": [[3.2, 3.5]]}, ...}``. A part that it does
        not name is unclear throughout.

    Returns
    -------
    numpy.ndarray, shape (stretches, 4)
        From when to when, in seconds, which of `PARTS`, and 1 where it plays or 0 where that is
        unclear. Where neither is said the part is silent, so that two recordings that sound
        together are described by the rows of both.
    """
    rows: list[tuple[float, float, int, int]] = []
    for number, part in enumerate(PARTS):
        said = values.get(part)
        if said is None:
            rows.append((-np.inf, np.inf, number, 0))
            continue
        for plays, kind in enumerate((UNCLEAR, PLAYS)):
            rows += [(start, end, number, plays) for start, end in said.get(kind, ())]
    return np.array(rows, np.float32).reshape(-1, 4)


def shift_activity(
    activity: NDArray[np.float32], start: float, seconds: float
) -> NDArray[np.float32]:
    """Return what plays in a stretch, in times from its start; nothing reaches beyond it."""
    out = activity.copy()
    out[:, :2] -= np.float32(start)
    return keep_activity(out, 0, seconds)


def keep_activity(activity: NDArray[np.float32], first: float, last: float) -> NDArray[np.float32]:
    """Return what plays from `first` to `last` seconds."""
    out = activity[(activity[:, 0] < last) & (activity[:, 1] > first)].copy()
    out[:, :2] = out[:, :2].clip(first, last)
    return out
