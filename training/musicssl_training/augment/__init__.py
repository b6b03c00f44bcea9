"""Distortions of what the encoder hears; targets stay clean."""

from musicssl_training.augment.isolated import isolate
from musicssl_training.augment.spectrogram import Heard, SpectrogramAugmentConfig, distort
from musicssl_training.augment.waveform import (
    AugmentedAudio,
    WaveformAugmentConfig,
    augment_waveform,
)

__all__ = [
    "AugmentedAudio",
    "Heard",
    "SpectrogramAugmentConfig",
    "WaveformAugmentConfig",
    "augment_waveform",
    "distort",
    "isolate",
]
