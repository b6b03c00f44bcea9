"""Hand-crafted baseline features, computed with librosa."""

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 22_050  # Hz
HOP = 512
N_FFT = 2048
CHROMA_N_FFT = 4096
LAGS = 384  # window of the tempogram in frames: 8.9 s
TEMPI = np.geomspace(30, 300, 31)  # BPM: edges of the bands in which the tempogram is averaged

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]  # (frames, dim), frame i is centered on sample i * HOP
Audio = NDArray[np.float32]


def log_mel_statistics(audio: Audio, sr: int) -> Vector:
    """Return mean and standard deviation over time of 128 log-mel bands: 256 values."""
    mel = librosa.feature.melspectrogram(S=_power(audio), sr=sr, n_mels=128)
    return _statistics(np.log10(mel + 1e-6))


def mfcc_statistics(audio: Audio, sr: int) -> Vector:
    """Return mean and standard deviation over time of 20 MFCC and their deltas: 80 values."""
    return _statistics(*_mfcc(_power(audio), sr))


def handcrafted(audio: Audio, sr: int) -> Vector:
    """Return the classic features of music information retrieval: 174 values.

    Mean and standard deviation over time of 20 MFCC and their deltas, 12 chroma, 7 spectral
    contrasts, 6 tonnetz dimensions, centroid, bandwidth, roll-off, flatness, zero-crossing rate
    and level; mean and standard deviation of the onset strength; the mean tempogram between 30
    and 300 BPM in 30 bands.
    """
    audio = _pad_to_minimum(audio)
    power = _power(audio)
    magnitude = np.sqrt(power)
    spectrum = np.abs(librosa.stft(audio, n_fft=CHROMA_N_FFT, hop_length=HOP)) ** 2
    chroma = librosa.feature.chroma_stft(S=spectrum, sr=sr, tuning=0.0)
    feature = librosa.feature
    rows = (
        *_mfcc(power, sr),
        chroma,
        feature.spectral_contrast(S=magnitude, sr=sr),
        feature.tonnetz(chroma=chroma, sr=sr),
        feature.spectral_centroid(S=magnitude, sr=sr) / sr,
        feature.spectral_bandwidth(S=magnitude, sr=sr) / sr,
        feature.spectral_rolloff(S=magnitude, sr=sr) / sr,
        np.log10(feature.spectral_flatness(S=magnitude) + 1e-6),
        feature.zero_crossing_rate(audio, frame_length=N_FFT, hop_length=HOP),
        np.log10(feature.rms(S=magnitude, frame_length=N_FFT) + 1e-6),
    )
    mel = librosa.power_to_db(feature.melspectrogram(S=power, sr=sr), top_db=None)
    onsets = librosa.onset.onset_strength(S=mel, sr=sr)
    return np.concatenate([_statistics(*rows), _statistics(onsets[None]), _tempo(onsets, sr)])


def log_mel_frames(audio: Audio, sr: int) -> Matrix:
    """Return 128 log-mel bands and their deltas at every hop: (frames, 256)."""
    mel = np.log10(librosa.feature.melspectrogram(S=_power(audio), sr=sr, n_mels=128) + 1e-6)
    return _stack_frames(mel, librosa.feature.delta(mel, mode="nearest"))


def handcrafted_frames(audio: Audio, sr: int) -> Matrix:
    """Return hand-crafted features and their deltas at every hop: (frames, 82).

    20 MFCC, 12 chroma, 7 spectral contrasts, level and onset strength.
    """
    audio = _pad_to_minimum(audio)
    power = _power(audio)
    magnitude = np.sqrt(power)
    spectrum = np.abs(librosa.stft(audio, n_fft=CHROMA_N_FFT, hop_length=HOP)) ** 2
    mel = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=sr), top_db=None)
    rows = np.concatenate(
        [
            _mfcc(power, sr)[0],
            librosa.feature.chroma_stft(S=spectrum, sr=sr, tuning=0.0),
            librosa.feature.spectral_contrast(S=magnitude, sr=sr),
            np.log10(librosa.feature.rms(S=magnitude, frame_length=N_FFT) + 1e-6),
            librosa.onset.onset_strength(S=mel, sr=sr)[None],
        ]
    )
    return _stack_frames(rows, librosa.feature.delta(rows, mode="nearest"))


def _stack_frames(*rows: NDArray[Any]) -> Matrix:
    return np.concatenate(rows).T.astype(np.float32)


def _tempo(onsets: NDArray[np.float32], sr: int) -> Vector:
    """Return the mean tempogram in logarithmic tempo bands, at most 1."""
    lags = librosa.feature.tempogram(onset_envelope=onsets, sr=sr, win_length=LAGS).mean(axis=1)
    tempi = librosa.tempo_frequencies(LAGS, sr=sr, hop_length=HOP)[1:]
    edges = np.interp(np.log(TEMPI), np.log(tempi[::-1]), np.arange(LAGS - 1, 0, -1))
    points = np.linspace(edges[1:], edges[:-1], 5)  # fractional lags, (5, bands)
    bands: Vector = np.interp(points, np.arange(LAGS), lags).mean(axis=0).astype(np.float32)
    return bands


def _mfcc(power: NDArray[np.float32], sr: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mel = librosa.feature.melspectrogram(S=power, sr=sr)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), sr=sr, n_mfcc=20)
    return mfcc, librosa.feature.delta(mfcc, mode="nearest")


def _power(audio: Audio) -> NDArray[np.float32]:
    """Return the power spectrogram, (1025, frames), at least 9 frames (the minimum for deltas)."""
    spectrum = librosa.stft(_pad_to_minimum(audio), n_fft=N_FFT, hop_length=HOP)
    power: NDArray[np.float32] = np.abs(spectrum) ** 2
    return power


def _pad_to_minimum(audio: Audio) -> Audio:
    return np.pad(audio, (0, max(0, 9 * HOP - len(audio))))


def _statistics(*rows: NDArray[Any]) -> Vector:
    """Return the means over time of all rows, then their standard deviations."""
    values = np.concatenate(rows)
    return np.concatenate([values.mean(axis=1), values.std(axis=1)]).astype(np.float32)


BASELINES: dict[str, Callable[[Audio, int], Vector]] = {
    "log-mel": log_mel_statistics,
    "mfcc": mfcc_statistics,
    "handcrafted": handcrafted,
}
FRAME_BASELINES: dict[str, Callable[[Audio, int], Matrix]] = {
    "log-mel": log_mel_frames,
    "handcrafted": handcrafted_frames,
}
