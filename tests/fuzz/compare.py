"""Compare two decodings by what sounds in them, not by sample numbers."""

import numpy as np
from numpy.typing import NDArray

RATE = 22_050  # Hz, of everything that is compared
WINDOW = RATE // 2
SILENCE = 1e-4  # RMS
SAME = 0.6  # normalised correlation; other music of the same style stays below 0.4
LONGEST = 120 * RATE  # what is searched through

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
    long = 1 << (2 * size).bit_length()
    spectra = [np.fft.rfft(audio - audio.mean(), long) for audio in (one, other)]
    correlation = np.fft.irfft(spectra[0] * spectra[1].conj(), long)
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
        if len(whole) >= WINDOW:
            look_for = _Finder(whole[:LONGEST])
            for start in range(0, len(loud), 4):
                some = loud[start : start + 4]
                result[some] |= look_for(windows[some]) >= SAME
    return result


def noisy(samples: Samples) -> NDArray[np.bool_]:
    """Return for each half second whether its spectrum is flat, as that of bytes taken for samples.

    The flatness of white noise is 0.56; that of music, at any speed, is well below 0.1.
    """
    samples = samples[:LONGEST]
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)[:, 50:1600]) ** 2 + 1e-12  # 100 to 3,200 Hz
    flatness: NDArray[np.bool_] = np.exp(np.log(power).mean(1)) / power.mean(1) > 0.25
    return flatness


def seconds(samples: Samples) -> float:
    """Return the length in seconds."""
    return len(samples) / RATE


def last_silence(samples: Samples) -> float:
    """Return how many seconds of exact zeros stand at the end."""
    sounding = np.flatnonzero(samples)
    return (len(samples) - (sounding[-1] + 1 if len(sounding) else 0)) / RATE


class _Finder:
    """Says how well windows are found in a piece of audio, as the best normalised correlation."""

    def __init__(self, whole: Samples) -> None:
        self._places = len(whole) - WINDOW + 1
        self._size = 1 << (len(whole) + WINDOW - 1).bit_length()
        self._spectrum = np.fft.rfft(whole, self._size)
        squares = np.concatenate([[0.0], np.cumsum(whole.astype(np.float64) ** 2)])
        energy = squares[WINDOW:] - squares[:-WINDOW]
        self._norm = np.sqrt(np.maximum(energy, WINDOW * SILENCE**2))

    def __call__(self, windows: Samples) -> NDArray[np.float64]:
        spectra = np.fft.rfft(windows, self._size, axis=1).conj()
        correlation = np.fft.irfft(self._spectrum * spectra, self._size, axis=1)
        own = np.sqrt((windows.astype(np.float64) ** 2).sum(1, keepdims=True))
        best: NDArray[np.float64] = (np.abs(correlation[:, : self._places]) / self._norm / own).max(
            1
        )
        return best


def _rms(samples: Samples) -> float:
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
