"""What truly sounds in rendered music: notes, beats, tempo, key."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRUMS = 128  # in the place of a General MIDI program


@dataclass(frozen=True)
class Score:
    """The truth about one excerpt; times in seconds from its start, some of them before or after.

    Attributes
    ----------
    notes
        Shape (notes, 5): onset, end of the sound, MIDI pitch, General MIDI program from 0 (or
        `DRUMS`), velocity 1 to 127.
    beats
        Shape (beats, 2): time, place in the bar (1 is the downbeat; 0 where bars are unknown).
    tempo
        Beats a minute; NaN where unknown.
    key
        0 to 11 for C to B major, 12 to 23 for C to B minor; -1 where unknown.
    """

    notes: NDArray[np.float32]
    beats: NDArray[np.float32]
    tempo: float = float("nan")
    key: int = -1
