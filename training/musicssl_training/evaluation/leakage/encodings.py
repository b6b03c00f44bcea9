"""The same recording in other encodings, found by its waveform.

Codecs keep the waveform; another take of the same music, hit of the same drum or note of the same
instrument has another. So two files are copies if their beginnings, each frequency band weighted
alike, are correlated at some lag, in nearly every band, and are as loud all along. That correlation
alone tells music apart, but not tones: two drums of one machine reach 0.95.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from musicssl.audio import open_source
from musicssl.errors import MusicSSLError
from musicssl.search.duplicates import SECONDS, SILENT
from musicssl_training.evaluation.datasets.collection import Audio
from musicssl_training.progress import track

RATE = 8000  # Hz: what lies below 4 kHz is preserved at low bit rates
EXCERPT = 8 * RATE  # samples from the first sound on
SHORTEST = RATE // 20  # samples; fewer are correlated by chance
N_BANDS, LOWEST = 40, 50.0  # equally wide, from so many Hz on: hum and offsets are no music
FLOOR = 1e-3  # power against the loudest band, below which a band counts less: codecs drop it
CORRELATION = 0.9  # of music, MP3 and Opus at 32 kb/s have 0.94 and more, other music below 0.1
PROFILE = 0.75  # dB, root mean square over the bands, by which spectra of copies may differ
LEVEL = 0.6  # dB: LAME takes 0.45 away; other levels are one drum hit harder or softer
N_STEPS = 16  # of an envelope
HEARD = 3e-3  # power of a band that is whitened with the floor: 55 dB below the loudest
SHORT = 2 * RATE  # samples, below which sounds are much alike: hits, single notes
KEPT = 256  # spectra at a time, half a megabyte each
BLOCK = 256  # recordings that are compared with all others at a time

Spectrum = NDArray[np.complex64]


class Limits(NamedTuple):
    """What copies keep."""

    coherence: float  # at least, in nine bands of ten
    profile: float  # dB at most, root mean square of the differences over the bands
    envelope: float  # dB at most, standard deviation of the differences over time


OF_MUSIC = Limits(coherence=0.5, profile=PROFILE, envelope=0.5)  # at 32 kb/s: 0.83, 0.4, 0.1
OF_HITS = Limits(coherence=0.9, profile=0.3, envelope=0.25)  # MP3 at 128 kb/s: 0.99, 0.23, 0.2


def find_copies(files: Sequence[Path], name: str = "") -> list[list[int]]:
    """Return groups of files that are one recording, whatever it was encoded with.

    What is silent, too short or cannot be read is in no group; so are files whose durations
    differ by more than a second, one of which may be a part of the other.

    Parameters
    ----------
    files
        Of which the first seconds are heard.
    name
        Of the progress that is shown.

    Returns
    -------
    list of list of int
        Indices in the order of the files, of two or more.
    """
    facts = np.full((len(files), N_BANDS + 2), np.nan)
    for i, file in enumerate(track(files, "files", f"{name}: copies".removeprefix(": "))):
        audio, seconds = _excerpt(file)
        if len(audio) >= SHORTEST:
            level = 10 * np.log10(np.mean(np.square(audio, dtype=np.float64)))
            facts[i] = np.append(_profile(audio), [level, seconds])

    @lru_cache(KEPT)
    def heard(i: int, size: int) -> tuple[Audio, Spectrum]:
        audio, _ = _excerpt(files[i])
        return audio, _whitened(audio, size)

    near: dict[int, set[int]] = {}
    for one, other in _candidates(facts):
        longest = min(facts[[one, other], -1].max(), EXCERPT / RATE)
        size = 1 << (2 * int(np.ceil(longest * RATE)) - 1).bit_length()  # without wrapping around
        if _are_same(*heard(one, size), *heard(other, size)):
            near.setdefault(one, {one}).add(other)
            near.setdefault(other, {other}).add(one)
    return sorted(_stars(near))


def _stars(near: Mapping[int, set[int]]) -> Iterator[list[int]]:
    """Yield what is connected, if one of it, as the original, is near all others.

    Otherwise, as of a drum whose decay is longer and longer, it is a row of sounds that are alike.

    Yields
    ------
    list of int
        In their order.
    """
    done: set[int] = set()
    for start in near:
        if start in done:
            continue
        found, left = {start}, [start]
        while left:
            new = near[left.pop()] - found
            found |= new
            left += new
        done |= found
        if any(near[one] == found for one in found):
            yield sorted(found)


def _excerpt(file: Path) -> tuple[Audio, float]:
    """Return the beginning of a file, without silence before it, and the file's seconds."""
    parts: list[Audio] = []
    n = decoded = 0
    try:
        with open_source(file, sample_rate=RATE) as source:
            for block in source.blocks():
                decoded += len(block)
                loud = np.flatnonzero(np.abs(block) >= SILENT) if not parts else [0]
                if len(loud):
                    parts.append(block[loud[0] :])
                    n += len(parts[-1])
                if n >= EXCERPT:
                    break
            seconds = decoded / RATE
            if n >= EXCERPT:
                seconds = max(seconds, source.duration or 0.0)
    except (MusicSSLError, OSError):  # which is told where the file is embedded
        parts = []
    if not parts:
        return np.empty(0, np.float32), 0.0
    return np.concatenate(parts)[:EXCERPT], seconds


def _candidates(facts: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield pairs that sound alike on the average, are as loud and as long, the first being lower.

    Yields
    ------
    tuple of int and int
        Rows of `facts`.
    """
    known = np.flatnonzero(np.isfinite(facts).all(axis=1))
    profiles, level, seconds = np.split(facts[known], [N_BANDS, N_BANDS + 1], axis=1)
    for start in range(0, len(known), BLOCK):
        here = slice(start, start + BLOCK)
        near = cdist(profiles[here], profiles) <= PROFILE * np.sqrt(N_BANDS)
        near &= np.abs(level[here] - level.T) <= LEVEL
        near &= np.abs(seconds[here] - seconds.T) <= SECONDS
        near &= np.arange(len(known))[here][:, None] < np.arange(len(known))
        for one, other in np.argwhere(near):
            yield int(known[one + start]), int(known[other])


def _bands(size: int) -> NDArray[np.int64]:
    """Return the first bin of each band in the spectrum of so many samples, and the last's end."""
    edges = np.linspace(LOWEST, RATE / 2, N_BANDS + 1) * size / RATE
    return np.rint(edges).astype(np.int64)


def _power(spectrum: Spectrum, bands: NDArray[np.int64]) -> NDArray[np.float64]:
    power = np.square(np.abs(spectrum), dtype=np.float64)
    found: NDArray[np.float64] = np.add.reduceat(power[: bands[-1]], bands[:-1]) / np.diff(bands)
    return found + 1e-20


def _profile(audio: Audio) -> NDArray[np.float64]:
    """Return the bands' levels in dB against the loudest."""
    size = 1 << (len(audio) - 1).bit_length()
    power = _power(scipy.fft.rfft(audio, size), _bands(size))
    profile: NDArray[np.float64] = 10 * np.log10(np.maximum(power / power.max(), FLOOR))
    return profile


def _whitened(audio: Audio, size: int) -> Spectrum:
    """Return a spectrum in which each band has the same power, all of it together 1."""
    bands = _bands(size)
    spectrum: Spectrum = scipy.fft.rfft(audio, size)
    power = _power(spectrum, bands)
    spectrum[: bands[0]] = spectrum[bands[-1] :] = 0
    scale = 1 / np.sqrt(power + FLOOR * power.max())
    spectrum[bands[0] : bands[-1]] *= np.repeat(scale, np.diff(bands)).astype(np.float32)
    return spectrum / np.float32(np.linalg.norm(spectrum))


def _are_same(one: Audio, spectrum: Spectrum, other: Audio, spectrum_2: Spectrum) -> bool:
    """Tell whether two sounds with their whitened spectra are one recording."""
    size = 2 * (len(spectrum) - 1)
    cross = spectrum * spectrum_2.conj()
    correlations = scipy.fft.irfft(cross, size) * (size / 2)
    lag = int(correlations.argmax())
    if correlations[lag] < CORRELATION:
        return False
    lag -= size if lag > size // 2 else 0
    limits = OF_HITS if min(len(one), len(other)) < SHORT else OF_MUSIC
    bands = _bands(size)
    cross *= np.exp(2j * np.pi * lag / size * np.arange(len(cross))).astype(np.complex64)
    power = _power(spectrum, bands), _power(spectrum_2, bands)
    together = np.add.reduceat(cross.real[: bands[-1]], bands[:-1]) / np.diff(bands)
    counting = np.minimum(*power) > HEARD * np.maximum(*power).max()
    coherence = (together / np.sqrt(power[0] * power[1]))[counting]
    profile = np.sqrt(np.mean(np.square(_profile(one) - _profile(other))))
    if np.quantile(coherence, 0.1) < limits.coherence or profile > limits.profile:
        return False
    envelope = _envelope_difference(one[max(lag, 0) :], other[max(-lag, 0) :])
    return envelope <= limits.envelope


def _envelope_difference(one: Audio, other: Audio) -> float:
    """Return the standard deviation of the difference of two sounds' levels over time, in dB."""
    length = min(len(one), len(other))
    levels = np.array(
        [
            [np.mean(np.square(part, dtype=np.float64)) for part in np.array_split(x, N_STEPS)]
            for x in (one[:length], other[:length])
        ]
    )
    levels += 1e-4 * levels.max()  # what is 40 dB below the loudest is not compared
    return float(np.std(10 * np.log10(levels[0] / levels[1])))
