"""Targets of scores: piano rolls, instruments, beats, keys, chords, frame by frame; tempo, style.

Rows are scores; frame ``i`` is at ``i * hop``.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl_training.midi.activity import keep_activity
from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import Score
from musicssl_training.midi.theory import DRUMS, FAMILIES

LOWEST, KEYS = 21, 88  # the piano's
FAMILY = np.full(DRUMS + 1, -1)  # of each program
for _number, _programs in enumerate(FAMILIES.values()):
    FAMILY[list(_programs)] = _number
FAMILY[DRUMS] = len(FAMILIES)


def piano_roll(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
    """Return which of the 88 pitches from A0 sound, (scores, frames, 88); drums have none.

    A note sounds in the frames from the one nearest to its onset to the one nearest to its end.
    NaN where there is more than notes.
    """
    return _known(_roll(scores, frames, seconds, KEYS, _pitches), scores)


def onset_roll(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
    """Return which pitches begin, in the frame nearest to it and the one after it."""
    return _known(_roll(scores, frames, seconds, KEYS, _pitches, onsets=True), scores)


def families(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
    """Return which instrument families sound, drums last: (scores, frames, families + 1).

    Those of the notes, and those that stems tell; NaN where these leave it open.
    """

    def place(notes: NDArray[np.float32]) -> NDArray[np.int64]:
        out: NDArray[np.int64] = FAMILY[notes[:, 3].astype(np.int64)]
        return out

    out = _roll(scores, frames, seconds, len(FAMILIES) + 1, place)
    for row, score in zip(out, scores, strict=True):
        if score.activity is None:
            continue
        heard = keep_activity(score.activity, 0, frames * seconds)
        for start, end, part, plays in sorted(heard.tolist(), key=itemgetter(3)):
            first = round(start / seconds)
            stretch = row[first : max(round(end / seconds), first + 1), int(part)]
            stretch[:] = 1 if plays else stretch.masked_fill(stretch == 0, torch.nan)
    return out


def chord(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
    """Return which pitch classes from C sound, (scores, frames, 12); NaN as in `piano_roll`."""

    def place(notes: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.where(notes[:, 3] == DRUMS, -1, notes[:, 2].astype(np.int64) % 12)

    return _known(_roll(scores, frames, seconds, 12, place), scores)


def beat_phase(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
    """Return beats and downbeats, (scores, frames, 2); 1 in the nearest frame and its neighbours.

    NaN where beats are unknown, and in the second column where bars are.
    """
    out = np.zeros((len(scores), frames, 2), np.float32)
    for row, score in zip(out, scores, strict=True):
        if not len(score.beats):
            row[:] = np.nan
            continue
        places = np.rint(score.beats[:, 0] / seconds).astype(np.int64)
        for shift in (-1, 0, 1):
            near = places + shift
            inside = (near >= 0) & (near < frames)
            row[near[inside], 0] = 1
            row[near[inside & (score.beats[:, 1] == 1)], 1] = 1
        if (score.beats[:, 1] == 0).any():
            row[:, 1] = np.nan
    return torch.from_numpy(out)


def tempo(scores: Sequence[Score]) -> Tensor:
    """Return beats a minute, (scores,); NaN where unknown."""
    return torch.tensor([score.tempo for score in scores], dtype=torch.float32)


def key(scores: Sequence[Score]) -> Tensor:
    """Return keys as in `Score.key`, (scores,), int64; -1 where unknown."""
    return torch.tensor([score.key for score in scores], dtype=torch.int64)


def style(scores: Sequence[Score]) -> Tensor:
    """Return places in `charts.STYLES`, (scores,), int64; -1 where unknown."""
    names = list(STYLES)
    found = [names.index(score.style) if score.style in names else -1 for score in scores]
    return torch.tensor(found, dtype=torch.int64)


def _known(roll: Tensor, scores: Sequence[Score]) -> Tensor:
    """Return a roll of pitches, NaN of scores that do not hold all that sounds."""
    more = torch.tensor([score.activity is not None for score in scores], dtype=torch.bool)
    return roll.masked_fill(more[:, None, None], torch.nan)


def _pitches(notes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the piano key of each note; -1 for drums and what no piano has."""
    keys = notes[:, 2].astype(np.int64) - LOWEST
    return np.where((notes[:, 3] == DRUMS) | (keys >= KEYS), -1, keys)


def _roll(
    scores: Sequence[Score],
    frames: int,
    seconds: float,
    size: int,
    place: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    *,
    onsets: bool = False,
) -> Tensor:
    """Return where notes sound (or begin), (scores, frames, size), by where `place` puts them."""
    edges = np.zeros((len(scores), frames + 1, size), np.float32)
    for row, score in zip(edges, scores, strict=True):
        places = place(score.notes)
        first = np.rint(score.notes[:, 0] / seconds).astype(np.int64)
        last = np.rint(score.notes[:, 1] / seconds).astype(np.int64)
        last = first + 1 if onsets else np.maximum(last, first)
        of_use = (places >= 0) & (last >= 0) & (first < frames)
        if onsets:
            of_use &= first >= 0
        np.add.at(row, (first[of_use].clip(min=0), places[of_use]), 1)
        np.add.at(row, ((last[of_use] + 1).clip(max=frames), places[of_use]), -1)
    sounding = edges[:, :frames].cumsum(axis=1) > 0.5
    return torch.from_numpy(sounding.astype(np.float32))
