"""Melodic interval n-grams, which match melodies in any key, tempo and instrumentation."""

import numpy as np
from numpy.typing import NDArray

from musicssl_training.midi.score import Score
from musicssl_training.midi.theory import DRUMS

LENGTH = 16  # intervals
MIN_DISTINCT = 5  # intervals: scales and repeated figures are common property
CHORD = 0.03  # seconds within which onsets belong to one chord
LEGATO = 0.05  # seconds by which notes of one voice may overlap


def interval_ngrams(score: Score) -> set[bytes]:
    """Return all n-grams of `LENGTH` intervals in the highest and lowest voice of each instrument.

    Parameters
    ----------
    score
        Of a whole recording or a segment.

    Returns
    -------
    set of bytes
        Semitones as signed bytes; n-grams with fewer than `MIN_DISTINCT` distinct intervals are
        left out.
    """
    found = set()
    for program in np.unique(score.notes[:, 3]):
        if program == DRUMS:
            continue
        notes = score.notes[score.notes[:, 3] == program]
        for side in (1, -1):
            steps = np.diff(np.array(_outer_voice(notes, side), np.int16)).astype(np.int8)
            for i in range(len(steps) - LENGTH + 1):
                ngram = steps[i : i + LENGTH].tobytes()
                if len(set(ngram)) >= MIN_DISTINCT:
                    found.add(ngram)
    return found


def _outer_voice(notes: NDArray[np.float32], side: int) -> list[int]:
    """Return the pitches of the highest (side 1) or lowest (-1) voice."""
    voice: list[int] = []
    begin = end = -np.inf
    for onset, off, pitch in notes[notes[:, 0].argsort(kind="stable"), :3].tolist():
        inner = bool(voice) and side * pitch <= side * voice[-1]
        if onset - begin < CHORD:
            if not inner:
                voice[-1], end = int(pitch), off
        elif not inner or end - onset <= LEGATO:
            voice.append(int(pitch))
            begin, end = onset, off
    return voice
