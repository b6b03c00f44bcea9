"""Audio fingerprints: landmarks of spectral peaks, robust to cropping, lossy coding and speed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import stft

SAMPLE_RATE = 22_050  # Hz
N_FFT, HOP = 2048, 512
LOWEST, N_BINS = 4, 600  # bins from 43 Hz to 6.5 kHz: preserved at low bit rates
NEIGHBORHOOD = (25, 13)  # bins and frames in which a peak is the maximum
DEPTH = 6.0  # log10 of power below the loudest bin, beyond which there are no peaks
FAN_OUT = 8  # following peaks that each is paired with, if near
MAX_GAP = 64  # frames between paired peaks: 1.5 s
MIN_LANDMARKS = 150  # a clip with fewer cannot be found
MIN_SHARE = 0.05  # of a clip's landmarks: low bit-rate copies share 0.14, other music 0.001
MIN_SHARE_CHANGED = 0.02  # at another speed, where rounded frequencies agree less often
MIN_VOTES = 20  # landmarks, whatever their share: some always agree by chance
CLEARLY = 1.25  # as much must a share at another speed be above that at its own
THINNING = 4  # of a recording's landmarks, one in so many is looked up at each other speed
MIN_VOTES_CHANGED = 10  # of these
SPEED_STEP = 0.002  # at half a step from its speed, a copy still shares 0.2 of its landmarks
SPEED_STEPS = 30  # to either side: 6 %, a semitone of a tape
KEYS = N_BINS * 1024 * MAX_GAP
Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """Factors by which a recording's frequencies and tempo differ from a clip's."""

    pitch: float = 1.0
    tempo: float = 1.0

    def __str__(self) -> str:
        if self == UNCHANGED:
            return ""
        what = "speed" if self.pitch == self.tempo else "tempo"
        return f" at {self.tempo:.3f} x its {what}"


UNCHANGED = Change()
_FACTORS = [float(np.exp(SPEED_STEP * i)) for i in range(-SPEED_STEPS, SPEED_STEPS + 1) if i]
CHANGES = (
    UNCHANGED,
    *(Change(factor, factor) for factor in _FACTORS),  # a tape, a wrong sample rate
    *(Change(1.0, factor) for factor in _FACTORS),  # stretched in time
)


@dataclass(frozen=True)
class Landmarks:
    """Pairs of spectral peaks [1]_.

    Attributes
    ----------
    first, second
        Frequencies of both peaks in bins of the spectrum, interpolated, (landmarks,).
    gap
        Frames between them, (landmarks,).
    frames
        Position of the first peak of each, (landmarks,).

    References
    ----------
    .. [1] Wang, "An industrial-strength audio search algorithm", ISMIR 2003.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    gap: NDArray[np.int64]
    frames: NDArray[np.int64]

    def every(self, step: int) -> "Landmarks":
        """Return one in so many."""
        frequencies = self.first[::step], self.second[::step]
        return Landmarks(*frequencies, self.gap[::step], self.frames[::step])

    def keys(self, change: Change = UNCHANGED) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a key for both frequencies and the gap of each, and its frame.

        They are those of the audio before `change`; landmarks that would not have been found there
        are left out.
        """
        first, second = (
            np.rint(bins / change.pitch).astype(np.int64) - LOWEST
            for bins in (self.first, self.second)
        )
        gap = np.rint(self.gap * change.tempo).astype(np.int64)
        kept = (gap > 0) & (gap < MAX_GAP)
        for bins in (first, second):
            kept &= (bins >= 0) & (bins < N_BINS)
        keys = (first * 1024 + second) * MAX_GAP + gap
        frames = np.rint(self.frames * change.tempo).astype(np.int64)
        return keys[kept], frames[kept]


@dataclass(frozen=True)
class Match:
    """A clip found in a recording.

    Attributes
    ----------
    share
        Of the clip's landmarks that match at this position.
    second
        Start of the clip in the recording.
    change
        Of the recording against the clip.
    """

    clip: int
    share: float
    second: float
    change: Change = UNCHANGED


def find_landmarks(audio: Audio) -> Landmarks:
    """Return the landmarks of mono audio at `SAMPLE_RATE`."""
    if len(audio) < N_FFT:
        audio = np.pad(audio, (0, N_FFT - len(audio)))
    _, _, spectrum = stft(audio, nperseg=N_FFT, noverlap=N_FFT - HOP, padded=False)
    around = np.log10(np.abs(spectrum[LOWEST - 1 : LOWEST + N_BINS + 1]) ** 2 + 1e-12)
    level = around[1:-1]
    peak = (level == maximum_filter(level, NEIGHBORHOOD)) & (level > level.max(initial=-12) - DEPTH)
    peak &= level > -11.5  # digital silence has no peaks
    frame, bin_ = np.nonzero(peak.T)  # in the order of time
    frequency = LOWEST + bin_ + _parabola(*(around[bin_ + i, frame] for i in range(3)))
    steps = []
    for step in range(1, FAN_OUT + 1):
        gap = frame[step:] - frame[:-step]
        kept = (gap > 0) & (gap < MAX_GAP)
        pairs = (frequency[:-step], frequency[step:], gap, frame[:-step])
        steps.append([values[kept] for values in pairs])
    return Landmarks(*(np.concatenate(parts) for parts in zip(*steps, strict=True)))


def _parabola(
    left: NDArray[np.float64], middle: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where, in bins from the middle one, a parabola through three levels is the largest."""
    curvature = np.minimum(left - 2 * middle + right, -1e-9)
    where: NDArray[np.float64] = np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)
    return where


class LandmarkIndex:
    """An inverted index of the landmarks of many clips.

    Parameters
    ----------
    clips
        Their landmarks.
    """

    def __init__(self, clips: Sequence[Landmarks]) -> None:
        found = [clip.keys() for clip in clips]
        self.counts = np.array([len(keys) for keys, _ in found])
        keys = np.concatenate([keys for keys, _ in found])
        order = np.argsort(keys, kind="stable")
        self._keys, starts = np.unique(keys[order], return_index=True)
        self._starts = np.append(starts, len(keys))
        self._clips = np.repeat(np.arange(len(clips)), self.counts)[order]
        self._frames = np.concatenate([frames for _, frames in found])[order]
        self._is_known = np.zeros(KEYS, np.bool_)  # a look-up costs a tenth of a binary search
        self._is_known[keys] = True

    @property
    def too_few(self) -> NDArray[np.bool_]:
        """Whether each clip has too few landmarks to be found."""
        return self.counts < MIN_LANDMARKS

    def match(self, recording: Landmarks, changes: Iterable[Change] = CHANGES) -> list[Match]:
        """Return the clips that a recording holds, at the change that matches each best.

        Shares at a change are estimates, of the landmarks that are looked up: it must match clearly
        better than none.
        """
        best: dict[int, Match] = {}
        for change in changes:
            for match in self._match(recording, change):
                before = best.get(match.clip)
                clearly = CLEARLY if before and before.change == UNCHANGED else 1.0
                if before is None or match.share > clearly * before.share:
                    best[match.clip] = match
        return list(best.values())

    def _match(self, recording: Landmarks, change: Change) -> list[Match]:
        thinning, least_share, least_votes = 1, MIN_SHARE, MIN_VOTES
        if change != UNCHANGED:
            thinning, least_share, least_votes = THINNING, MIN_SHARE_CHANGED, MIN_VOTES_CHANGED
        keys, frames = recording.every(thinning).keys(change)  # before, for keys are what costs
        known = np.flatnonzero(self._is_known[keys])
        known = known[np.argsort(keys[known])]  # neighbors in memory are searched much faster
        keys, frames = keys[known], frames[known]
        place = np.searchsorted(self._keys, keys)
        first = self._starts[place]
        count = self._starts[place + 1] - first
        ends = np.cumsum(count)
        if not len(ends):
            return []
        found = np.arange(ends[-1]) + np.repeat(first - (ends - count), count)
        offsets = np.repeat(frames, count) - self._frames[found]
        places, votes = np.unique((self._clips[found] << 32) + offsets, return_counts=True)
        beside = np.zeros_like(votes)  # grids may lie half a frame apart: two offsets share votes
        beside[:-1][np.diff(places) == 1] = votes[1:][np.diff(places) == 1]
        votes = votes + beside
        clips = (places + (1 << 31)) >> 32
        shares = thinning * votes / np.maximum(self.counts[clips], 1)
        starts = (places - (clips << 32)) * HOP / SAMPLE_RATE / change.tempo
        return [
            Match(int(clips[i]), float(min(shares[i], 1)), float(starts[i]), change)
            for i in np.flatnonzero((shares >= least_share) & (votes >= least_votes))
        ]
