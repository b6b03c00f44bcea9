"""Distortions of what the encoder hears; targets stay clean."""

from musicssl_training.distort.isolated import isolate
from musicssl_training.distort.spectrum import DistortConfig, Heard, distort
from musicssl_training.distort.wave import HeardWave, WaveDistortConfig, distort_wave

__all__ = [
    "DistortConfig",
    "Heard",
    "HeardWave",
    "WaveDistortConfig",
    "distort",
    "distort_wave",
    "isolate",
]
