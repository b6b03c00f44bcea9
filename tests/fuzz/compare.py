"""Compare two decodings by what sounds in them, not by sample numbers."""

import numpy as np
from numpy.typing import NDArray

RATE = 22_050  # Hz, of everything that is compared
WINDOW = RATE // 2
SILENCE = 1e-4  # RMS
SAME = 0.6  # normalised correlation; other music of the same style stays below 0.4
LONGEST = 300 * RATE  # what is searched through

Samples = NDArray[np.float32]


def alike(one: Samples, other: Samples) -> bool:
    """Whether two decodings of one length are the same wave, up to a gain and a shift."""
    size = min(len(one), len(other), LONGEST)
    if size < 64:
        return True
    one, other = one[:size], other[:size]
    if max(_rms(one), _rms(other)) < SILENCE:
        return True
    enough = 0.95 * size * _rms(one) * _rms(other)
    if abs(np.dot(one.astype(np.float64), other)) > enough:  # most often there is no shift
        return True
    correlation = _correlate(one[None] - one.mean(), other - other.mean())[0]
    return bool(np.abs(correlation).max() > enough)


def found(part: Samples, *wholes: Samples) -> NDArray[np.bool_]:
    """Return for each half second of `part` whether it sounds somewhere in one of `wholes`.

    Silence is found in nothing.
    """
    part = part[:LONGEST]
    windows = part[: len(part) // WINDOW * WINDOW].reshape(-1, WINDOW)
    result = np.zeros(len(windows), bool)
    loud = np.flatnonzero(np.sqrt((windows.astype(np.float64) ** 2).mean(1)) >= SILENCE)
    for whole in wholes:
        if len(whole) < WINDOW:
            continue
        for start in range(0, len(loud), 4):
            some = loud[start : start + 4]
            result[some] |= _best(windows[some], whole[:LONGEST]) >= SAME
    return result


def seconds(samples: Samples) -> float:
    """Return the length in seconds."""
    return len(samples) / RATE


def last_silence(samples: Samples) -> float:
    """Return how many seconds of exact zeros stand at the end."""
    sounding = np.flatnonzero(samples)
    return (len(samples) - (sounding[-1] + 1 if len(sounding) else 0)) / RATE


def _best(windows: Samples, whole: Samples) -> NDArray[np.float64]:
    correlation = np.abs(_correlate(windows, whole))[:, : len(whole) - WINDOW + 1]
    squares = np.concatenate([[0.0], np.cumsum(whole.astype(np.float64) ** 2)])
    energy = squares[WINDOW:] - squares[:-WINDOW]
    norm = np.sqrt(np.maximum(energy, WINDOW * SILENCE**2))
    own = np.sqrt((windows.astype(np.float64) ** 2).sum(1, keepdims=True))
    best: NDArray[np.float64] = (correlation / norm / own).max(1)
    return best


def _correlate(windows: Samples, whole: Samples) -> NDArray[np.float64]:
    size = 1 << (len(whole) + windows.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(whole, size)
    return np.fft.irfft(spectrum * np.fft.rfft(windows, size, axis=1).conj(), size, axis=1)


def _rms(samples: Samples) -> float:
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
