"""Frame by frame: which notes sound, where they begin, where the beats are."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from musicssl_training.corpus.score import DRUMS, Score

TOLERANCE = 0.05  # s: mir_eval's window for onsets; a beat is as near
Truth = NDArray[np.float64]  # (frames, labels), 0 or 1


def onsets(score: Score, times: NDArray[np.float64]) -> Truth:
    """Return whether a note begins within 50 ms of each frame's centre, (frames, 1)."""
    return _near(score.notes[:, 0], times)


def beats(score: Score, times: NDArray[np.float64]) -> Truth:
    """Return whether a beat is within 50 ms of each frame's centre, (frames, 1)."""
    return _near(score.beats[:, 0], times)


def pitch_classes(score: Score, times: NDArray[np.float64]) -> Truth:
    """Return which of C to B sound at each frame's centre, (frames, 12); drums have none."""
    out = np.zeros((len(times), 12))
    for onset, end, pitch in score.notes[score.notes[:, 3] != DRUMS, :3]:
        out[(times >= onset) & (times < end), int(pitch) % 12] = 1
    return out


def _near(events: NDArray[np.float32], times: NDArray[np.float64]) -> Truth:
    if not len(events):
        return np.zeros((len(times), 1))
    ordered = np.sort(events.astype(np.float64))
    after = np.searchsorted(ordered, times).clip(max=len(ordered) - 1)
    before = (after - 1).clip(min=0)
    gap = np.minimum(np.abs(ordered[after] - times), np.abs(ordered[before] - times))
    near: Truth = (gap <= TOLERANCE).astype(float)[:, None]
    return near


FRAMEWISE: dict[str, tuple[Callable[[Score, NDArray[np.float64]], Truth], tuple[str, ...]]] = {
    "onsets": (onsets, ("onset",)),
    "beats": (beats, ("beat",)),
    "pitch_classes": (
        pitch_classes,
        ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"),
    ),
}
