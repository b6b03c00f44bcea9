"""Audio fingerprints: landmarks of spectral peaks, robust to cropping and lossy coding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import stft

SAMPLE_RATE = 22_050  # Hz
N_FFT, HOP = 2048, 512
BINS = slice(4, 604)  # 43 Hz to 6.5 kHz: preserved at low bit rates
NEIGHBORHOOD = (25, 13)  # bins and frames in which a peak is the maximum
DEPTH = 6.0  # log10 of power below the loudest bin, beyond which there are no peaks
FAN_OUT = 8  # following peaks that each is paired with, if near
MAX_GAP = 64  # frames between paired peaks: 1.5 s
MIN_LANDMARKS = 150  # a clip with fewer cannot be found
FLOOR = 400  # least denominator of a share: some landmarks always agree by chance
Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Landmarks:
    """Pairs of spectral peaks: a key of both frequencies and their distance, and a time [1]_.

    Attributes
    ----------
    keys
        Shape (landmarks,).
    frames
        Position of the first peak of each, (landmarks,).

    References
    ----------
    .. [1] Wang, "An industrial-strength audio search algorithm", ISMIR 2003.
    """

    keys: NDArray[np.int64]
    frames: NDArray[np.int64]


@dataclass(frozen=True)
class Match:
    """A clip found in a recording.

    Attributes
    ----------
    share
        Of the clip's landmarks (or of `FLOOR`, if it has fewer) that match at this position.
    second
        Start of the clip in the recording.
    """

    clip: int
    share: float
    second: float


def find_landmarks(audio: Audio) -> Landmarks:
    """Return the landmarks of mono audio at `SAMPLE_RATE`."""
    if len(audio) < N_FFT:
        audio = np.pad(audio, (0, N_FFT - len(audio)))
    _, _, spectrum = stft(audio, nperseg=N_FFT, noverlap=N_FFT - HOP, padded=False)
    level = np.log10(np.abs(spectrum[BINS]) ** 2 + 1e-12)
    peak = (level == maximum_filter(level, NEIGHBORHOOD)) & (level > level.max(initial=-12) - DEPTH)
    peak &= level > -11.5  # digital silence has no peaks
    frame, bin_ = np.nonzero(peak.T)  # in the order of time
    keys, frames = [], []
    for step in range(1, FAN_OUT + 1):
        apart = frame[step:] - frame[:-step]
        kept = (apart > 0) & (apart < MAX_GAP)
        pairs = (bin_[:-step][kept] * 1024 + bin_[step:][kept]) * MAX_GAP + apart[kept]
        keys.append(pairs)
        frames.append(frame[:-step][kept])
    return Landmarks(np.concatenate(keys), np.concatenate(frames))


class LandmarkIndex:
    """An inverted index of the landmarks of many clips.

    Parameters
    ----------
    clips
        Their landmarks.
    """

    def __init__(self, clips: Sequence[Landmarks]) -> None:
        self.counts = np.array([len(clip.keys) for clip in clips])
        keys = np.concatenate([clip.keys for clip in clips])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._clips = np.repeat(np.arange(len(clips)), self.counts)[order]
        self._frames = np.concatenate([clip.frames for clip in clips])[order]

    @property
    def too_few(self) -> NDArray[np.bool_]:
        """Whether each clip has too few landmarks to be found."""
        return self.counts < MIN_LANDMARKS

    def match(self, recording: Landmarks, min_share: float) -> list[Match]:
        """Return the clips of which at least `min_share` is in a recording."""
        first = np.searchsorted(self._keys, recording.keys, "left")
        count = np.searchsorted(self._keys, recording.keys, "right") - first
        ends = np.cumsum(count)
        if not len(ends) or not ends[-1]:
            return []
        found = np.arange(ends[-1]) + np.repeat(first - (ends - count), count)
        clips = self._clips[found]
        offsets = np.repeat(recording.frames, count) - self._frames[found]
        places, votes = np.unique(np.stack([clips, offsets]), axis=1, return_counts=True)
        beside = np.zeros_like(votes)  # grids may lie half a frame apart: two offsets share votes
        joined = (places[0, 1:] == places[0, :-1]) & (places[1, 1:] == places[1, :-1] + 1)
        beside[:-1][joined] = votes[1:][joined]
        shares = (votes + beside) / np.maximum(self.counts[places[0]], FLOOR)
        out: dict[int, Match] = {}
        for i in np.flatnonzero(shares >= min_share):
            clip = int(places[0, i])
            if clip not in out or shares[i] > out[clip].share:
                out[clip] = Match(
                    clip, float(min(shares[i], 1)), float(places[1, i] * HOP / SAMPLE_RATE)
                )
        return list(out.values())
