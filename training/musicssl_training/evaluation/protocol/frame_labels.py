"""Frame-level labels: onsets, beats and sounding pitch classes, at times common to all models."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings
from musicssl_training.midi.score import Score
from musicssl_training.midi.theory import DRUMS, PITCH_CLASSES

TOLERANCE = 0.05  # s: mir_eval's window for onsets, used for beats too
STEP = 0.04  # s between the times at which all models are compared
Times = NDArray[np.float64]
Truth = NDArray[np.float64]  # (frames, labels), 0 or 1


def common_times(embedded: Sequence[CollectionEmbeddings]) -> list[Times]:
    """Return times for each clip, 40 ms apart, that the frames of every model cover."""
    ends = np.min([[times[-1] for times in _by_clip(found)] for found in embedded], axis=0)
    return [np.arange(0, max(end, STEP / 2), STEP) for end in ends]


def frames_at(found: CollectionEmbeddings, times: Sequence[Times]) -> NDArray[np.float32]:
    """Return the frames nearest to the given times of each clip, (all times, dim)."""
    first, index = 0, []
    for centers, wanted in zip(_by_clip(found), times, strict=True):
        between = (centers[1:] + centers[:-1]) / 2
        index.append(first + np.searchsorted(between, wanted))
        first += len(centers)
    return found.values[np.concatenate(index)]


def _by_clip(found: CollectionEmbeddings) -> list[Times]:
    assert found.lengths is not None
    assert found.times is not None
    return np.split(found.times, np.cumsum(found.lengths)[:-1])


def onsets(score: Score, times: Times) -> Truth:
    """Return whether a note begins within 50 ms of each frame's center, (frames, 1)."""
    return _near_event(score.notes[:, 0], times)


def beats(score: Score, times: Times) -> Truth:
    """Return whether a beat is within 50 ms of each frame's center, (frames, 1)."""
    return _near_event(score.beats[:, 0], times)


def pitch_classes(score: Score, times: Times) -> Truth:
    """Return which pitch classes sound at each frame's center, (frames, 12), without drums."""
    out = np.zeros((len(times), 12))
    for onset, end, pitch in score.notes[score.notes[:, 3] != DRUMS, :3]:
        out[(times >= onset) & (times < end), int(pitch) % 12] = 1
    return out


def _near_event(events: NDArray[np.float32], times: Times) -> Truth:
    if not len(events):
        return np.zeros((len(times), 1))
    ordered = np.sort(events.astype(np.float64))
    after = np.searchsorted(ordered, times).clip(max=len(ordered) - 1)
    before = (after - 1).clip(min=0)
    gap = np.minimum(np.abs(ordered[after] - times), np.abs(ordered[before] - times))
    near: Truth = (gap <= TOLERANCE).astype(float)[:, None]
    return near


FRAME_LABELS: dict[str, tuple[Callable[[Score, Times], Truth], tuple[str, ...]]] = {
    "onsets": (onsets, ("onset",)),
    "beats": (beats, ("beat",)),
    "pitch_classes": (pitch_classes, PITCH_CLASSES),
}
