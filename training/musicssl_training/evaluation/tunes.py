"""Runs of intervals in scores, to find a tune in any key, at any speed and on any instrument."""

import numpy as np
from numpy.typing import NDArray

from musicssl_training.corpus.score import DRUMS, Score

LENGTH = 16  # intervals
DIFFERENT = 5  # among them at least: scales and figures that repeat are everybody's
TOGETHER = 0.03  # seconds: notes that begin within it are a chord
LEGATO = 0.05  # seconds that a note may sound into the next one of its voice


def runs(score: Score) -> set[bytes]:
    """Return all runs of `LENGTH` intervals in the highest and lowest voice of every instrument.

    Parameters
    ----------
    score
        Of a whole recording, or of a stretch.

    Returns
    -------
    set of bytes
        Semitones as signed bytes; runs of fewer than `DIFFERENT` different intervals are left out.
    """
    found = set()
    for program in np.unique(score.notes[:, 3]):
        if program == DRUMS:
            continue
        notes = score.notes[score.notes[:, 3] == program]
        for side in (1, -1):
            steps = np.diff(np.array(_outer(notes, side), np.int16)).astype(np.int8)
            for i in range(len(steps) - LENGTH + 1):
                run = steps[i : i + LENGTH].tobytes()
                if len(set(run)) >= DIFFERENT:
                    found.add(run)
    return found


def _outer(notes: NDArray[np.float32], side: int) -> list[int]:
    """Return the pitches of the highest (side 1) or lowest (-1) voice."""
    voice: list[int] = []
    begin = end = -np.inf
    for onset, off, pitch in notes[notes[:, 0].argsort(kind="stable"), :3].tolist():
        inner = bool(voice) and side * pitch <= side * voice[-1]
        if onset - begin < TOGETHER:
            if not inner:
                voice[-1], end = int(pitch), off
        elif not inner or end - onset <= LEGATO:
            voice.append(int(pitch))
            begin, end = onset, off
    return voice
