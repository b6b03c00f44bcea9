"""Regression targets of the workers, in batched torch: the table `TARGETS`."""

from collections.abc import Callable

from musicssl_training.targets import pitch, prosody, rhythm, spectral, timbre
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import FrameGrid

__all__ = ["TARGETS", "Target"]

TARGETS: dict[str, Callable[[FrameGrid], Target]] = {
    "log_mel": spectral.LogMel,
    "log_mel_long": lambda grid: spectral.LogMel(grid, n_mels=128, n_fft=4096, once=True),
    "lps": spectral.Lps,
    "lps_long": lambda grid: spectral.Lps(grid, n_fft=4096, bands=200, once=True),
    "mfcc": spectral.Mfcc,
    "mfcc_long": lambda grid: spectral.Mfcc(grid, n_mels=128, n_fft=4096, once=True),
    "gammatone": spectral.Gammatone,
    "gammatone_long": lambda grid: spectral.Gammatone(grid, n_fft=4096, once=True),
    "prosody": prosody.Prosody,
    "loudness": prosody.Loudness,
    "shape": timbre.Shape,
    "contrast_bands": timbre.Contrast,
    "harmonic_percussive": timbre.HarmonicPercussive,
    "vqt": pitch.Vqt,
    "notes": pitch.Notes,
    "chroma": pitch.Chroma,
    "chroma_vqt": pitch.ChromaVqt,
    "chroma_peaks": pitch.ChromaPeaks,
    "cens": pitch.Cens,
    "tonnetz": pitch.Tonnetz,
    "salience": pitch.Salience,
    "onsets": rhythm.Onsets,
    "tempogram": rhythm.Tempogram,
    "tempogram_fourier": rhythm.FourierTempogram,
    "beat_pulse": rhythm.BeatPulse,
}
