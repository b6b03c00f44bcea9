"""Downbeats that the notes of a score confirm.

A MIDI file has no bar lines: it gives a time signature, and bars are counted from there. A piece
with an upbeat is then wrong from its first to its last bar. So a count is only believed where long
notes, low notes, accents, changes of harmony and the kick and crash of drums fall on its downbeats
clearly more than on every other place in the bar.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musicssl_training.midi.theory import DRUMS

CLEAR = 3.0  # standard errors by which downbeats stand out from any other place in the bar
NEAR = 0.12  # beats between a note's onset and the beat that it is taken to be on
BARS = 4  # fewer say nothing
ALIKE = 1e-3  # share of its largest value by which a cue differs if only times were rounded
LOW = 0.3  # share of the notes that are low
KICKS, CRASHES, SNARES = (35, 36), (49, 52, 55, 57), (37, 38, 39, 40)  # General MIDI


def confirm_downbeats(
    stretches: Sequence[NDArray[np.float64]], notes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the beats of a file, with place 0 (unknown) where bars are not confirmed.

    Parameters
    ----------
    stretches
        Times and places in the bar from each time signature on, (beats, 2), see `parse.meters`.
    notes
        Of the whole file, see `Score.notes`.

    Returns
    -------
    numpy.ndarray, shape (beats, 2)
        All stretches, one after the other.

    Notes
    -----
    Bars counted from the first signature must be confirmed by the notes: there may be an upbeat.
    A later signature stands at a bar line, so bars counted from it must only not be contradicted.
    A stretch that ends within a bar was not counted from a bar line, and is unknown.
    """
    beats = np.concatenate([np.zeros((0, 2)), *stretches])
    evidence = salience(beats[:, 0], notes)
    first = 0
    for number, stretch in enumerate(stretches):
        last = first + len(stretch)
        bar = int(stretch[:, 1].max(initial=0))
        whole = last == len(beats) or stretch[-1:, 1] == bar
        clearest = _clearest(evidence[first:last], bar)
        if bar < 2 or not whole or clearest not in ((1,) if number == 0 else (0, 1)):
            beats[first:last, 1] = 0
        first = last
    return beats


def _clearest(evidence: NDArray[np.float64], bar: int) -> int:
    """Return the place, from 1, that clearly is the downbeat; 0 where none is.

    Bars are the samples: the smallest t-value of a place against the others must reach `CLEAR`.
    """
    bars = len(evidence) // max(bar, 1)
    if bar < 2 or bars < BARS:
        return 0
    weights = evidence[: bars * bar].reshape(bars, bar)
    difference = weights[:, :, None] - weights[:, None]  # (bars, place, other place)
    error = difference.std(axis=0, ddof=1) / np.sqrt(bars)
    t = difference.mean(axis=0) / np.maximum(error, 1e-9)
    t[np.arange(bar), np.arange(bar)] = np.inf
    least = t.min(axis=1)
    return int(least.argmax()) + 1 if least.max() >= CLEAR else 0


def salience(times: NDArray[np.float64], notes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how much speaks for a downbeat at each beat, (beats,).

    The sum of six cues, each with standard deviation 1 over the beats: how long the notes last
    that begin there, and the low ones of them; their mean velocity; how much the harmony changes;
    kicks and crashes; and no snare.
    """
    count = len(times)
    if count < 2 or not len(notes):
        return np.zeros(count)
    times = np.append(times, 2 * times[-1] - times[-2])  # the end of the last beat
    onset, end = (np.interp(notes[:, i], times, np.arange(count + 1)) for i in (0, 1))
    beat = np.rint(onset).astype(int)
    pitch, drum = notes[:, 2].astype(int), notes[:, 3] == DRUMS
    near = (np.abs(onset - beat) < NEAR) & (beat < count)
    held = near & ~drum
    low = held & (pitch <= np.quantile(pitch[~drum], LOW)) if (~drum).any() else held
    length = np.clip(end - onset, 0, 4)  # beats

    def total(chosen: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(beat[chosen], weights[chosen], count).astype(np.float64)

    each = np.ones(len(notes))
    hits = {
        name: total(near & drum & np.isin(pitch, pitches), each)
        for name, pitches in (("kick", KICKS), ("crash", CRASHES), ("snare", SNARES))
    }
    cues = (
        total(held, length),
        total(low, length),
        total(held, notes[:, 4].astype(float)) / np.maximum(total(held, each), 1),
        _harmony(onset[~drum], end[~drum], pitch[~drum], count),
        hits["kick"] + 2 * hits["crash"],
        -hits["snare"],
    )
    out = np.zeros(count)
    for cue in cues:
        if (spread := cue.std()) > ALIKE * max(1.0, np.abs(cue).max()):
            out += cue / spread
    return out


def _harmony(
    onset: NDArray[np.float64], end: NDArray[np.float64], pitch: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return how much the pitch classes change at each beat, from one beat, and two, to the next.

    One less the cosine of the pitch classes' durations before and after.
    """
    chroma = np.zeros((count + 1, 12))
    for start, stop, step in zip(onset, end, pitch % 12, strict=True):
        beats = np.arange(int(start), min(int(np.ceil(stop)), count))
        chroma[beats + 1, step] += np.minimum(stop, beats + 1) - np.maximum(start, beats)
    until = chroma.cumsum(axis=0)  # durations before each beat
    places = np.arange(count)
    out = np.zeros(count)
    for reach in (1, 2):
        after = until[np.minimum(places + reach, count)] - until[places]
        before = until[places] - until[np.maximum(places - reach, 0)]
        norm = np.linalg.norm(after, axis=1) * np.linalg.norm(before, axis=1)
        same = (after * before).sum(axis=1) / np.maximum(norm, 1e-9)
        out += np.where(norm > 0, 1 - same, 0)
    return out
